"""A result of an analysis as rows under named columns, the one form that is printed, exported and drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ...errors import InvalidInput, MissingExtra

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, eq=False)
class Table:
    """Rows under named columns.

    name    : what it is, an identifier: "plateaus", "tree", "observables"
    columns : name -> (rows,), numbers or texts, in the order in which they are shown
    remarks : sentences that belong to it: how much of the file was read, by which criterion
    shown   : how many rows, evenly chosen, a terminal shows of it
    """

    name: str
    columns: Mapping[str, NDArray[Any]]
    remarks: tuple[str, ...] = field(default=())
    shown: int = 20

    def __post_init__(self) -> None:
        lengths = {name: len(values) for name, values in self.columns.items()}
        if len(set(lengths.values())) > 1:
            raise InvalidInput(f"the columns of a table must have the same length; got {lengths}")

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def to_dataframe(self) -> pandas.DataFrame:
        """The columns as a table of pandas. Raises MissingExtra without it."""
        try:
            import pandas
        except ImportError:
            raise MissingExtra("to_dataframe needs pandas: pip install 'attndyn[tables]'") from None
        return pandas.DataFrame(dict(self.columns))
