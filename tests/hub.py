"""The Hugging Face Hub on this machine, as far as its file system asks: a tree and its files."""

import hashlib
import json
import re
import urllib.parse

from tests.servers import Handler

_MODEL = r"/api/models/([^/]+/[^/]+)"


class HubHandler(Handler):
    """A folder ``org/model`` of ``server.folder`` is the repository of that name."""

    def do_GET(self):
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        if path == "/api/agent-harnesses":
            return self._json({})
        if found := re.fullmatch(rf"{_MODEL}(/revision/main)?", path):
            return self._repository(found[1])
        if found := re.fullmatch(rf"{_MODEL}/tree/main/?(.*)", path):
            return self._json(list(self._tree(self.server.folder / found[1], found[2])))
        self.path = path.replace("/resolve/main/", "/")
        return super().do_GET()

    def _repository(self, name):
        if (self.server.folder / name).is_dir():
            return self._json({"id": name, "sha": "0" * 40, "siblings": []})
        return self._send(404, b"", {"X-Error-Code": "RepoNotFound"})

    def _tree(self, root, under):
        below = "recursive=true" in self.path.lower()
        for path in sorted((root / under).rglob("*") if below else (root / under).iterdir()):
            name, oid = path.relative_to(root).as_posix(), "1" * 40
            if path.is_dir():
                yield {"type": "directory", "path": name, "oid": oid, "size": 0}
                continue
            size, sha = path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()
            lfs = {"oid": sha, "size": size, "pointerSize": 100}
            yield {"type": "file", "path": name, "size": size, "oid": oid, "lfs": lfs}

    def _json(self, value):
        return self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})
