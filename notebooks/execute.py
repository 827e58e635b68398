"""Execute the notebooks of this folder and keep their outputs: text and pictures.

    python notebooks/execute.py              in place
    python notebooks/execute.py OUT          into the folder OUT; the originals stay as they are
    python notebooks/execute.py OUT 04_keras only this one

The kernel is the Python that runs this script, whatever kernels are installed; nothing is read
from or written to the home directory.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
TIMEOUT = 600  # seconds for one cell, on a busy machine


def execute(path: Path, out: Path) -> None:
    """Run one notebook from its first cell to its last; `out` gets it with its outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed; its traceback is in the message.
    """
    import nbformat
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from nbclient import NotebookClient

    class ThisPython(KernelSpecManager):
        """Knows one kernel."""

        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            return KernelSpec(resource_dir="", **get_kernel_dict())

    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=TIMEOUT, kernel_name="python3",
                            resources={"metadata": {"path": str(path.parent)}})
    client.create_kernel_manager()
    client.km.kernel_spec_manager = ThisPython()
    with tempfile.TemporaryDirectory() as sockets:
        if os.name != "nt":  # no TCP port for anybody else to talk to
            client.km.transport, client.km.ip = "ipc", f"{sockets}/kernel"
        client.execute()
    for cell in notebook.cells:  # when and how long: noise in every diff
        cell.metadata.pop("execution", None)
        cell.metadata.pop("outputId", None)
    notebook.metadata.pop("widgets", None)
    out.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def private_folders(folder: str) -> dict[str, str]:
    """Environment that keeps Jupyter, IPython and matplotlib out of the home directory."""
    return {"JUPYTER_RUNTIME_DIR": f"{folder}/runtime", "JUPYTER_DATA_DIR": f"{folder}/data",
            "JUPYTER_CONFIG_DIR": f"{folder}/config", "IPYTHONDIR": f"{folder}/ipython",
            "MPLCONFIGDIR": f"{folder}/matplotlib"}


def main() -> None:
    """The notebooks of this folder, or those that are named."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    paths = [HERE / f"{name}.ipynb" for name in sys.argv[2:]] or sorted(HERE.glob("*.ipynb"))
    with tempfile.TemporaryDirectory() as private:
        os.environ.update(private_folders(private))
        for path in paths:
            print(f"{path.name} ...", file=sys.stderr)
            execute(path, folder / path.name)


if __name__ == "__main__":
    main()
