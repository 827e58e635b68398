from __future__ import annotations

import pytest

from asr.parsing import number_of


@pytest.mark.parametrize("text", ["1_0", "\u0663", "nan", "-inf", "1e999", "", "24\x1d", "0x10",
                                  "\u00b2"])
def test_what_other_programs_call_no_number_is_none(text):
    assert [number_of(number) for number in ("1.5", " -2e3\n", "007")] == [1.5, -2_000.0, 7.0]
    with pytest.raises(ValueError, match="is no number"):
        number_of(text)
