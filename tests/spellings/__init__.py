"""How public code of binary networks spells them, in our own words: small networks by kind.

``ALL`` is every one; ``NOT_YET`` says of some, by name, why they cannot be compiled yet.
"""

from tests.spellings import attention, heads, images, layers, moved, scales, signs, written
from tests.spellings.not_yet import NOT_YET
from tests.spellings.spelling import Spelling

ALL: tuple[Spelling, ...] = (
    *signs.SPELLINGS,
    *scales.SPELLINGS,
    *layers.SPELLINGS,
    *images.SPELLINGS,
    *heads.SPELLINGS,
    *written.SPELLINGS,
    *attention.SPELLINGS,
    *moved.SPELLINGS,
)

__all__ = ["ALL", "NOT_YET", "Spelling"]
