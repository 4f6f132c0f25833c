from typing import Any

class Reader:
    taken: int
    read_bytes: int

    def __init__(
        self,
        *,
        track_type: type,
        tracks: dict[Any, Any],
        store: object,
        timeline: object,
        backlog: object,
        listeners: list[Any],
    ) -> None: ...
    def read(self, fd: int, /) -> bytes | None: ...
    def take(self, data: bytes, /) -> bytes | None: ...
    def hold(self, message_bytes: int, beginning: bytearray, /) -> bool: ...
    def knows(self, message: bytes, /) -> bool: ...
    def learn(
        self,
        message: bytes,
        data_at: int,
        data_chars: int,
        data_bytes: int,
        time_at: int,
        user_id: int | str,
        user_name: str | None,
        /,
    ) -> bool: ...
