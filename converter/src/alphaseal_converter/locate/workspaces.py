"""Finding a workspace again: at its recorded path, through ``--map``, or by its name below ``--workspace-root``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

from alphaseal.errors import NotReadableError
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.session.history import WorkspaceRef, recorded_path

# Workspaces lie at most this deep below a root: <root>/git_ignore_folder/RD-Agent_workspace/<name>.
_DEPTH = 3
_DIRECTORY_BOUND = 200_000
_MARKS = ("mlruns", "model.pkl", "params.pkl")


def find_workspace(
    reference: WorkspaceRef | None, roots: Sequence[Path], path_maps: Sequence[tuple[str, str]]
) -> tuple[Path | None, list[str]]:
    """The workspace's directory on this machine, or None, and everything that was tried in words.

    Two directories of the same name below the roots are refused (``workspace.ambiguous``).
    """
    if reference is None or reference.path is None:
        return None, []
    searched = []
    for candidate in _direct_candidates(reference.path, path_maps):
        searched.append(str(candidate))
        if candidate.is_dir():
            return candidate, searched
    if not reference.name:
        return None, searched
    found: dict[Path, Path] = {}
    for root in roots:
        if not root.is_dir():
            raise NotReadableError("workspace.not_readable", "no such directory", where=str(root))
        searched.append(f"{reference.name} below {root}")
        found.update({path.resolve(): path for path in _named(root, reference.name)})
    if len(found) > 1:
        raise RefusalError(
            "workspace.ambiguous",
            f"several directories are called {reference.name}",
            found=", ".join(str(path) for path in found.values()),
            next_step="name one --workspace-root that holds only one of them",
        )
    return next(iter(found.values()), None), searched


def workspaces_below(root: Path) -> tuple[Path, ...]:
    """`root` itself or the directories below it that look like workspaces (``mlruns`` or a weight file)."""
    return tuple(directory for directory in _walk(root) if _looks_like_workspace(directory))


def translate(path: PurePosixPath | PureWindowsPath, path_maps: Sequence[tuple[str, str]]) -> tuple[Path, ...]:
    """Where the maps say that a recorded path now is.

    Slashes of both kinds are equal; Windows paths are compared without case, as Windows does; a path with ``..`` is
    not translated.
    """
    parts = _parts(path)
    if ".." in parts:
        return ()
    translated = []
    for source, target in path_maps:
        prefix = _parts(recorded_path(source) or PurePosixPath(source))
        if len(prefix) <= len(parts) and _same(parts[: len(prefix)], prefix, path):
            translated.append(_directory(target).joinpath(*parts[len(prefix) :]))
    return tuple(translated)


def _directory(target: str) -> Path:
    # "F:" alone is the drive's current directory on Windows; a map means its root.
    return Path(target + "/") if os.name == "nt" and target.endswith(":") else Path(target)


def _direct_candidates(path: PurePosixPath | PureWindowsPath, path_maps: Sequence[tuple[str, str]]) -> tuple[Path, ...]:
    # A POSIX path means nothing to Windows, and the other way round; only the machine's own flavour is tried as it is.
    native = isinstance(path, PureWindowsPath) == (os.name == "nt")
    here = (Path(path),) if native and path.is_absolute() else ()
    return (*here, *translate(path, path_maps))


def _parts(path: PurePath) -> tuple[str, ...]:
    """Parts with forward slashes; the root or the drive is the first one (``/``, ``F:``)."""
    return tuple(part.replace("\\", "/").rstrip("/") or "/" for part in path.parts)


def _same(left: Sequence[str], right: Sequence[str], path: PurePath) -> bool:
    if isinstance(path, PureWindowsPath):
        return [part.casefold() for part in left] == [part.casefold() for part in right]
    return list(left) == list(right)


def _named(root: Path, name: str) -> Iterator[Path]:
    if root.name == name:
        yield root
    for directory in _walk(root):
        candidate = directory / name
        if candidate.is_dir() and not candidate.is_symlink():
            yield candidate


def _walk(root: Path) -> Iterator[Path]:
    """`root` and the directories down to `_DEPTH` - 1 levels below it; workspaces are not entered, links not followed."""
    level = [root]
    seen = 0
    for _ in range(_DEPTH):
        following: list[Path] = []
        for directory in level:
            seen += 1
            if seen > _DIRECTORY_BOUND:
                raise RefusalError(
                    "workspace.too_many",
                    "too many directories to search",
                    where=str(root),
                    expected=f"at most {_DIRECTORY_BOUND}",
                    next_step="name the directory that holds the workspaces",
                )
            yield directory
            # A root is entered even if a stray mlruns lies in it; a workspace below is not.
            if directory == root or not _looks_like_workspace(directory):
                following.extend(_subdirectories(directory))
        level = following


def _looks_like_workspace(directory: Path) -> bool:
    return any((directory / mark).exists() for mark in _MARKS)


def _subdirectories(directory: Path) -> list[Path]:
    with os.scandir(directory) as entries:
        return sorted(
            Path(entry.path)
            for entry in entries
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".") and entry.name != "mlruns"
        )
