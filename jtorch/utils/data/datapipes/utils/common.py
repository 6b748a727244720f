"""What pipes of files hand on."""

from __future__ import annotations


class StreamWrapper:
    """A stream that is closed when nothing refers to it any more, or with the last of the streams within it."""

    def __init__(self, file_obj, parent_stream: StreamWrapper | None = None, name: str | None = None):
        self.file_obj, self.name = file_obj, name
        self.closed = self.close_on_last_child = False
        self.child_counter = 0
        self.parent_stream = parent_stream
        if parent_stream is not None:
            if not isinstance(parent_stream, StreamWrapper):
                raise RuntimeError(f"Parent stream should be StreamWrapper, {type(parent_stream)} was given")
            parent_stream.child_counter += 1

    @classmethod
    def close_streams(cls, v, depth: int = 0) -> None:
        """Close the streams in nested lists, tuples and dicts."""
        if isinstance(v, StreamWrapper):
            v.close()
        elif isinstance(v, (dict, list, tuple)) and depth < 10:
            for element in v.values() if isinstance(v, dict) else v:
                cls.close_streams(element, depth + 1)

    def close(self, *args, **kwargs) -> None:
        """Close it, and its parent where that waits for it."""
        if self.closed:
            return
        self.closed = True
        parent = self.parent_stream
        if parent is not None:
            parent.child_counter -= 1
            if not parent.child_counter and parent.close_on_last_child:
                parent.close()
        if hasattr(self.file_obj, "close"):
            self.file_obj.close(*args, **kwargs)

    def autoclose(self) -> None:
        """Close it as soon as no stream within it is open."""
        self.close_on_last_child = True
        if not self.child_counter:
            self.close()

    def __getattr__(self, name):
        if "file_obj" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.file_obj, name)

    def __dir__(self):
        return sorted({*super().__dir__(), *dir(self.file_obj)})

    def __del__(self):
        if not self.__dict__.get("closed", True):
            self.close()

    def __iter__(self):
        return iter(self.file_obj)

    def __next__(self):
        return next(self.file_obj)

    def __repr__(self) -> str:
        name = "" if self.name is None else f"{self.name},"
        return f"StreamWrapper<{name}{self.file_obj!r}>"

    def __getstate__(self):
        return self.file_obj

    def __setstate__(self, file_obj):
        self.__init__(file_obj)
