"""A real Jupyter server with the output keeper, in the process of the tests, and pages of it."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from notebook_keeper.keeper import Execution, KeepingConnection
from pytest_jupyter.jupyter_core import (
    echo_kernel_spec,
    jp_asyncio_loop,
    jp_config_dir,
    jp_data_dir,
    jp_env_config_path,
    jp_env_jupyter_path,
    jp_environ,
    jp_home_dir,
    jp_kernel_dir,
    jp_system_config_path,
    jp_system_jupyter_path,
    pytest_pycollect_makeitem,
)
from pytest_jupyter.jupyter_server import (
    jp_argv,
    jp_auth_header,
    jp_base_url,
    jp_configurable_serverapp,
    jp_http_port,
    jp_logging_stream,
    jp_nbconvert_templates,
    jp_root_dir,
    jp_server_cleanup,
    jp_serverapp,
    jp_web_app,
)
from pytest_jupyter.pytest_tornasync import http_server, http_server_port, pytest_pyfunc_call
from traitlets.config import Config

from tests.support import CHECKOUT
from tests.support.notebooks import Cell, content
from tests.support.pages import V1, Cue, NewFile, Notebook, OpenPage, Page, Server

# As a plugin, they would start a server for the tests of all directories.
__all__ = [
    "echo_kernel_spec",
    "http_server",
    "http_server_port",
    "jp_argv",
    "jp_asyncio_loop",
    "jp_auth_header",
    "jp_base_url",
    "jp_config_dir",
    "jp_configurable_serverapp",
    "jp_data_dir",
    "jp_env_config_path",
    "jp_env_jupyter_path",
    "jp_environ",
    "jp_home_dir",
    "jp_http_port",
    "jp_kernel_dir",
    "jp_logging_stream",
    "jp_nbconvert_templates",
    "jp_root_dir",
    "jp_server_cleanup",
    "jp_serverapp",
    "jp_system_config_path",
    "jp_system_jupyter_path",
    "jp_web_app",
    "pytest_pycollect_makeitem",
    "pytest_pyfunc_call",
]

SHIPPED = CHECKOUT / "roles/jupyter/files/keeper/data/etc/jupyter/jupyter_server_config.d"


@pytest.fixture
def jp_runtime_dir() -> Iterator[Path]:
    """A directory whose name leaves room for those of kernels' sockets."""
    with tempfile.TemporaryDirectory(prefix="k-", dir="/tmp") as directory:
        yield Path(directory)


@pytest.fixture
def jp_server_config(tmp_path: Path) -> Config:
    """Settings as the role makes them, and shorter times of Jupyter's own."""
    config = Config(json.loads((SHIPPED / "notebook_keeper.json").read_text()))
    config.ServerApp.jpserver_extensions.update(
        {"jupyter_server_fileid": True, "jupyter_server_ydoc": True}
    )
    config.KernelManager.cache_ports = False
    config.KernelManager.transport = "ipc"
    config.YDocExtension.session_store_path = str(tmp_path / "sessions.json")
    config.SQLiteYStore.db_path = str(tmp_path / "history.db")
    config.BaseFileIdManager.db_path = str(tmp_path / "files.db")
    config.OutputKeeper.webhook_file = str(tmp_path / "cell_webhook.json")
    # When a document is saved, and a change of its file seen, a dead kernel noticed, and one that
    # does not end by itself killed.
    config.YDocExtension.document_save_delay = 0.1
    config.YDocExtension.file_poll_interval = 0.1
    config.AsyncIOLoopKernelRestarter.time_to_dead = 0.2
    config.KernelManager.shutdown_wait_time = 0.5
    return config


@pytest.fixture
def server(
    jp_serverapp: Any,
    http_server: Any,
    jp_http_port: int,
    jp_base_url: str,
    jp_root_dir: Path,
) -> Server:
    """The server."""
    url = f"http://127.0.0.1:{jp_http_port}{jp_base_url}"
    return Server(url, jp_serverapp.identity_provider.token, jp_root_dir)


@pytest.fixture
def new_file(jp_root_dir: Path) -> NewFile:
    """Make a notebook with these cells."""

    def make(name: str, cells: Sequence[str | Cell]) -> Notebook:
        file = Notebook(jp_root_dir / f"{name}.ipynb")
        file.path.write_text(content(cells))
        # It may be empty, while Jupyter writes it, when somebody looks for the first time.
        assert file.cells
        return file

    return make


@pytest.fixture
def open_page(server: Server, jp_asyncio_loop: asyncio.AbstractEventLoop) -> Iterator[OpenPage]:
    """Open notebooks; all pages leave in the end."""
    pages: list[Page] = []

    async def open_it(file: Notebook, protocol: str = V1) -> Page:
        page = Page(server, str(file.path.relative_to(server.root)), protocol)
        pages.append(page)
        await page.open()
        return page

    async def leave() -> None:
        for page in pages:
            await page.leave()

    yield open_it
    jp_asyncio_loop.run_until_complete(leave())


@pytest.fixture
def new_cue(tmp_path: Path) -> Callable[[str], Cue]:
    """Make something that a cell waits for."""
    return lambda name: Cue(tmp_path / f"cue-{name}")


@pytest.fixture
def cue(new_cue: Callable[[str], Cue]) -> Cue:
    """What the first cell waits for."""
    return new_cue("go")


@pytest.fixture
def executions(server: Server) -> Callable[[], list[Execution]]:
    """What the keeper knows of the cells that were run, which no page can tell."""
    # It runs in this process.
    return lambda: list(KeepingConnection.keeper._executions.values())
