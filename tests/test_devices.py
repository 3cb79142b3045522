from __future__ import annotations

import pytest
import torch

from s2i.devices import resolve_device
from s2i.errors import InputError


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused():
    assert resolve_device("auto").type == "cpu"
    with pytest.raises(InputError, match="use device cpu or auto"):
        resolve_device("cuda")
