"""How the elements of a tensor are stored, and what kind of number they stand for."""

from enum import Enum


class Storage(Enum):
    """The value is the dtype of a stored element, as records, manifests and kernels have it."""

    FLOAT32 = "float32"
    #: Numbers between layers in half precision.
    FLOAT16 = "float16"
    #: Signs, 32 channels to a word: 1 is +1, 0 is -1.
    BITS = "uint32"
    #: An image as the caller has it.
    BYTES = "uint8"
    #: The same, stored for convolutions.
    INT16 = "int16"
    #: Integers and truth values as the caller has them.
    INT32 = "int32"
    INT64 = "int64"
    BOOL = "bool"

    @property
    def dtype(self) -> str:
        """Of a stored element."""
        return self.value

    @property
    def itemsize(self) -> int:
        """Bytes of a stored element."""
        return _BYTES.get(self, 4)

    @property
    def channels(self) -> int:
        """Channels of a stored element."""
        return 32 if self is Storage.BITS else 1

    @property
    def channel_bytes(self) -> float:
        """Bytes of a channel."""
        return self.itemsize / self.channels


#: Bytes of an element that is not of 4.
_BYTES = {
    Storage.FLOAT16: 2,
    Storage.BYTES: 1,
    Storage.BOOL: 1,
    Storage.INT16: 2,
    Storage.INT64: 8,
}
