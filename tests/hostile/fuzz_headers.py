"""Headers of archives whose checksums are right whatever else they say."""


def with_checksums(data: bytes) -> bytes:
    """Set the checksum of every header of a tar right, or none but the first would ever be read."""
    changed = bytearray(data)
    for at in range(0, len(changed) - 511, 512):
        if at == 0 or changed[at + 257 : at + 262] == b"ustar":
            changed[at + 148 : at + 156] = b" " * 8
            changed[at + 148 : at + 156] = b"%06o\0 " % sum(changed[at : at + 512])
    return bytes(changed)
