"""A web server of this machine that lies, stalls, never ends, and leads elsewhere.

The first part of a path names the lie, one of `LIES`: ``/endless/model.safetensors``.
"""

import contextlib
import gzip
import itertools
import re
import socketserver
import ssl
import threading

_BLOCK = b"\x7f" * (1 << 16)


class Request:
    """What was asked, and the way to answer; ``data`` is the file that an honest server would send.

    Attributes
    ----------
    begin, end : int
        The range that was asked for; the whole file without one.
    count : int
        How many requests the server has had before this one.
    """

    def __init__(self, connection, head, server):
        self.connection, self.server, self.data = connection, server, server.data
        asked = re.search(rb"(?i)\r\nrange: bytes=(\d+)-(\d+)", head)
        self.begin, self.end = (int(asked[1]), int(asked[2]) + 1) if asked else (0, len(self.data))
        self.end = min(self.end, len(self.data))
        self.path, self.ranged = head.split()[1].decode(), bool(asked)
        self.count = next(server.numbers)

    @property
    def part(self):
        return self.data[self.begin : self.end]

    def send(self, data):
        """Raises OSError when the client has gone or the server closes."""
        if self.server.closing.is_set():
            raise ConnectionAbortedError
        self.connection.sendall(data)
        self.server.sent += len(data)

    def head(self, status, *lines):
        self.send("\r\n".join([f"HTTP/1.1 {status} Said", *lines, "", ""]).encode())

    def body(self, status, body, *lines):
        self.head(status, f"Content-Length: {len(body)}", *lines)
        self.send(body)

    def range(self, *lines, body=None, told=None):
        """An honest answer to a range, but for what is given."""
        body = self.part if body is None else body
        told = told or f"bytes {self.begin}-{self.end - 1}/{len(self.data)}"
        self.body(206, body, f"Content-Range: {told}", *lines)

    def stall(self):
        self.server.closing.wait()


def _forever(request, piece):
    while True:
        request.send(piece)


def _chunked(data):
    return b"%x\r\n" % len(data) + data + b"\r\n"


def honest(request):
    request.range('ETag: "1"') if request.ranged else request.body(200, request.data, 'ETag: "1"')


def endless(request):
    request.head(200, "Transfer-Encoding: chunked")
    _forever(request, _chunked(_BLOCK))


def endless_range(request):
    told = f"Content-Range: bytes {request.begin}-{request.end - 1}/{len(request.data)}"
    request.head(206, told, "Transfer-Encoding: chunked")
    _forever(request, _chunked(_BLOCK))


def endless_head(request):
    request.send(b"HTTP/1.1 200 OK\r\n")
    for number in itertools.count():
        request.send(b"X-%d: %s\r\n" % (number, b"y" * 1000))


def endless_line(request):
    request.send(b"HTTP/1.1 200 OK\r\nX: ")
    _forever(request, _BLOCK)


def short(request):
    request.head(200, f"Content-Length: {len(request.data) + 1000}")
    request.send(request.data)


def long(request):
    request.head(200, f"Content-Length: {len(request.data) - 1000}")
    request.send(request.data)


def negative(request):
    request.head(200, "Content-Length: -5")
    request.send(request.data)


def two_lengths(request):
    request.head(200, f"Content-Length: {len(request.data)}", "Content-Length: 7")
    request.send(request.data)


def huge(request):
    request.head(200, f"Content-Length: {1 << 62}")
    _forever(request, _BLOCK)


def digits(request):
    request.range(told=f"bytes 0-99/{'9' * 5000}")


def huge_range(request):
    request.range(told=f"bytes {request.begin}-{request.end - 1}/{1 << 62}")


def silent(request):
    request.stall()


def slow_head(request):
    request.send(b"HTTP/1.1 200 OK\r\nContent-Le")
    request.stall()


def one_byte(request):
    request.head(206, f"Content-Range: bytes 0-65535/{1 << 20}", "Content-Length: 65536")
    request.send(b"\0")
    request.stall()


def one_byte_whole(request):
    request.head(200, f"Content-Length: {1 << 20}")
    request.send(b"\0")
    request.stall()


def closed(request):
    pass


def other_range(request):
    request.range(told=f"bytes {request.begin + 1}-{request.end - 1}/{len(request.data)}")


def other_bytes(request):
    request.range(body=bytes(request.end - request.begin))


def past_the_end(request):
    request.range(told=f"bytes {request.begin}-{request.end - 1}/{request.end - 10}")


def no_range_told(request):
    request.body(206, request.part)


def unknown_length(request):
    request.range(told=f"bytes {request.begin}-{request.end - 1}/*")


def whole_as_part(request):
    request.range(body=request.data + bytes(1 << 17))


def few(request):
    request.range(body=request.part[:10])


def multipart(request):
    body = b"--x\r\nContent-Range: bytes 0-9/20\r\n\r\n0123456789\r\n--x--\r\n"
    request.body(206, body, "Content-Type: multipart/byteranges; boundary=x")


def first_only(request):
    request.range() if request.count == 0 else request.body(200, request.data)


def changing_tag(request):
    request.range(f'ETag: "{request.count}"')


def changing_date(request):
    request.range(f"Last-Modified: Mon, 30 Nov 2026 00:00:{request.count:02d} GMT")


def changing_size(request):
    size = len(request.data) + request.count
    request.range(told=f"bytes {request.begin}-{request.end - 1}/{size}")


def not_found(request):
    request.body(404, b"no")


def forbidden(request):
    request.body(403, b"no")


def later(request):
    request.body(429, b"no", "Retry-After: 99999999")


def failing(request):
    request.body(500, b"no")


def strange_status(request):
    request.body(299, b"no")


def bad_request(request):
    request.body(400, b"no")


def garbage(request):
    request.send(bytes(range(256)) * 10)


def ssh(request):
    request.send(b"SSH-2.0-OpenSSH_9.6\r\n")
    request.stall()


def bomb(request):
    body = request.server.bomb
    request.body(200, body, "Content-Encoding: gzip")


def bomb_range(request):
    told = f"Content-Range: bytes {request.begin}-{request.end - 1}/{len(request.data)}"
    request.body(206, request.server.bomb, told, "Content-Encoding: gzip")


def not_gzip(request):
    request.body(200, request.data, "Content-Encoding: gzip")


def html(request):
    request.body(200, b"<!DOCTYPE html><html><body>Log in</body></html>")


def empty(request):
    request.body(200, b"")


def no_content(request):
    request.head(204)


def no_range_there(request):
    request.body(416, b"")


def _to(target, status=302):
    def redirect(request):
        request.body(status, b"", f"Location: {target}")

    return redirect


def loop(request):
    request.body(302, b"", f"Location: {request.path}")


def longer_loop(request):
    request.body(302, b"", f"Location: {request.path}x")


def no_location(request):
    request.body(302, b"")


def not_modified(request):
    request.body(304, b"")


LIES = {
    lie.__name__: lie
    for lie in (
        endless, endless_range, endless_head, endless_line, short, long, negative, two_lengths,
        huge, huge_range, digits, silent, slow_head, one_byte, one_byte_whole, closed, other_range,
        other_bytes, past_the_end, no_range_told, unknown_length, whole_as_part, few, multipart,
        first_only, changing_tag, changing_date, changing_size, not_found, forbidden, later,
        failing, strange_status, bad_request, garbage, ssh, bomb, bomb_range, not_gzip, html,
        empty, no_content, no_range_there, loop, longer_loop, no_location, not_modified,
    )
}  # fmt: skip
LIES |= {
    "to_file": _to("file:///etc/passwd"),
    "to_ftp": _to("ftp://127.0.0.1/model.safetensors"),
    "to_data": _to("data:text/plain,x"),
    "to_nobody": _to("http://127.0.0.1:1/model.safetensors?token=s3cret"),
    "to_nonsense": _to("http://[::1/model"),
    "honest": honest,
}


class _Connection(socketserver.BaseRequestHandler):
    def handle(self):
        with contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                piece = self.request.recv(1 << 16)
                if not piece:
                    return
                head += piece
            asked = Request(self.request, head, self.server)
            LIES[asked.path.split("/")[1]](asked)


class Liar(socketserver.ThreadingTCPServer):
    """``sent`` counts the bytes of all answers."""

    daemon_threads, allow_reuse_address, request_queue_size = True, True, 128

    def __init__(self, data, certificate=None):
        super().__init__(("127.0.0.1", 0), _Connection)
        self.data, self.sent, self.numbers = data, 0, itertools.count()
        self.closing, self.bomb = threading.Event(), gzip.compress(bytes(1 << 28), 1)
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{self.server_address[1]}"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)

    def handle_error(self, request, address):
        pass


@contextlib.contextmanager
def lying(data, certificate=None):
    with Liar(data, certificate) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()
