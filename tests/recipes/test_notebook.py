"""The notebook runs from end to end, and lies in the repository without what it printed."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient

FILE = Path(__file__).parents[2] / "recipes" / "painted_birds" / "first_images.ipynb"


def test_the_notebook_lies_here_without_outputs():
    notebook = nbformat.read(FILE, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code and not any(cell.outputs or cell.execution_count for cell in code)
    assert FILE.stat().st_size < 20_000


def test_every_cell_runs_where_the_notebook_lies(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(FILE.parents[2]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(FILE, as_version=4)
    client = NotebookClient(notebook, timeout=300, kernel_name="python3")
    client.execute(cwd=str(FILE.parent))  # raises what a cell does
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 4  # three of speech, one of text
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "1.00  a small red bird with black wings" in printed
    assert "images of 16 px, 32 px, 64 px" in printed
