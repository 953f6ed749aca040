"""zip archives whose members are read in place: where each lies, from the central directory."""

from __future__ import annotations

import struct
import zipfile
import zlib

from kolmo.checkpoints.allowance import ENTRY, allowance_for
from kolmo.checkpoints.compressed import spooled
from kolmo.checkpoints.stored import Stored
from kolmo.errors import InputError

_LOCAL = struct.Struct("<4s5H3L2H")  # a member's own header, before its name
_EXPECTED = 1 << 14  # records whose headers are expected at once


class Archive:
    """The members of a zip archive by name; InputError if two share a name or their bytes."""

    def __init__(self, stored: Stored) -> None:
        self.stored, self.where = stored, stored.where
        try:
            with stored.open() as file, zipfile.ZipFile(file) as archive:
                members = archive.infolist()
        except InputError:
            raise
        except Exception as error:  # zipfile raises anything from BadZipFile to struct.error
            lost = "not a zip file" in str(error)
            raise InputError(
                f"{self.where}: a damaged or truncated zip archive"
                f"{', whose directory at the end is missing' if lost else ''}; download or copy it "
                f"again"
            ) from None
        allowance_for(self.where, stored.size).charge(ENTRY * len(members))
        self.members = {member.filename: member for member in members}
        self._refuse_prefix(members)
        self._refuse_twins(members)
        self._are_expected = False

    def __contains__(self, name: str) -> bool:
        return name in self.members

    def __iter__(self) -> object:
        return iter(self.members)

    def names(self, ending: str) -> list[str]:
        """The members that are called this, in whatever folder."""
        return [name for name in self.members if name == ending or name.endswith(f"/{ending}")]

    def record(self, name: str) -> Stored:
        """The bytes of a member, unread; InputError if it is missing or packed."""
        member = self.members.get(name)
        if member is None:
            raise InputError(f"{self.where}: record {name!r} is missing; it is damaged")
        if member.compress_type != zipfile.ZIP_STORED:
            raise InputError(
                f"{self.where}: record {name!r} is compressed, which torch never does; unpack the "
                f"archive and pack it again without compression (zip -0)"
            )
        return self._bytes_of(member)

    def small(self, name: str, limit: int) -> bytes:
        """The first bytes of a member, packed or not, at most ``limit``."""
        member = self.members[name]
        if member.compress_type == zipfile.ZIP_STORED:
            return bytes(self.record(name).read(0, min(member.file_size, limit)))
        packed = self._bytes_of(member)
        try:
            unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
            return unpacker.decompress(bytes(packed.read(0, min(packed.size, limit))), limit or 1)
        except zlib.error:
            raise InputError(f"{self.where}: record {name!r} is damaged") from None

    def _bytes_of(self, member: zipfile.ZipInfo) -> Stored:
        """The bytes of a member as they are stored, unread."""
        name = member.filename
        if member.flag_bits & 1:
            raise InputError(f"{self.where}: record {name!r} is encrypted")
        self._expect_headers()
        header = _LOCAL.unpack(self.stored.read(member.header_offset, _LOCAL.size))
        begin = member.header_offset + _LOCAL.size
        encoding = "utf-8" if header[2] & 0x800 else "cp437"
        own = bytes(self.stored.read(begin, header[9])).decode(encoding, "replace")
        if header[0] != b"PK\x03\x04" or own != member.orig_filename:
            raise InputError(
                f"{self.where}: the archive's directory and record {name!r} contradict each other; "
                f"it is damaged, or made to be read in two ways"
            )
        return self.stored.part(begin + header[9] + header[10], member.compress_size)

    def _expect_headers(self) -> None:
        """Where one record is read the others are too, of which each has a header of its own."""
        if not self._are_expected:
            members = list(self.members.values())[:_EXPECTED]
            sizes = [_LOCAL.size + len(member.orig_filename.encode()) for member in members]
            self.stored.expect(
                [(m.header_offset, size) for m, size in zip(members, sizes, strict=True)]
            )
            self._are_expected = True

    def unpacked(self, name: str) -> Stored:
        """The bytes of a member, in a temporary file where it is packed.

        Raises
        ------
        InputError
            If it is missing, damaged, or holds far more than its size.
        """
        member = self.members.get(name)
        if member is None or member.compress_type == zipfile.ZIP_STORED or member.flag_bits & 1:
            return self.record(name)
        try:
            with (
                self.stored.open() as file,
                zipfile.ZipFile(file) as archive,
                archive.open(member) as packed,
            ):
                return spooled(packed, f"{self.where}: {name!r}", self.stored.size)
        except InputError:
            raise
        except Exception as error:  # whatever a decompressor raises
            raise InputError(
                f"{self.where}: record {name!r} cannot be unpacked ({type(error).__name__}); it is "
                f"damaged"
            ) from None

    def _refuse_prefix(self, members: list[zipfile.ZipInfo]) -> None:
        """A file of several archives, of which the directory at its end lists only the last."""
        first = min((member.header_offset for member in members), default=0)
        if first > 0:
            raise InputError(
                f"{self.where}: something lies before the archive, as in the shards (.distcp) of a "
                f"distributed checkpoint: part of the model would be missing; gather it first: "
                f"python -m torch.distributed.checkpoint.format_utils dcp_to_torch DIR model.pt"
            )

    def _refuse_twins(self, members: list[zipfile.ZipInfo]) -> None:
        if len({member.filename.casefold() for member in members}) != len(members):
            raise InputError(
                f"{self.where}: two records of the archive have one name, so that programs may "
                f"read either; it is damaged, or made to be read in two ways"
            )
        end = 0
        for member in sorted(members, key=lambda member: member.header_offset):
            if member.header_offset < end:
                raise InputError(f"{self.where}: records of the archive share bytes; it is damaged")
            end = member.header_offset + _LOCAL.size + member.compress_size


class ProgramArchive(Archive):
    """An archive that a program carries behind its code, as llamafiles do."""

    def _refuse_prefix(self, members: list[zipfile.ZipInfo]) -> None:
        """Nothing: the program comes first."""
