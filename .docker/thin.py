"""Takes out of the environment that runs this what the service never uses, and compiles what it does.

Run once by the Dockerfiles, with the environment's own Python; needs binutils. Why each thing goes is said where it
goes; what is measured, and what would happen where one of these beliefs were wrong, is in docs/deployment.md.
"""

import compileall
import importlib
import importlib.util
import itertools
import py_compile
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

IMPORTED = (
    "aiohttp",
    "azure.core.pipeline.transport",
    "azure.cosmos.aio",
    "azure.identity.aio",
    "azure.servicebus.aio.management",
    "azure.storage.blob.aio",
    "cv2",
    "fastapi",
    "google.protobuf.message_factory",
    "grpc.aio",
    "grpc_health.v1.health_pb2_grpc",
    "grpc_reflection.v1alpha.reflection",
    "httpx",
    "jwt",
    "numpy",
    "opentelemetry.exporter.otlp.proto.grpc._log_exporter",
    "opentelemetry.exporter.otlp.proto.grpc.metric_exporter",
    "opentelemetry.exporter.otlp.proto.grpc.trace_exporter",
    "opentelemetry.exporter.otlp.proto.http._log_exporter",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk._logs.export",
    "opentelemetry.sdk.metrics.export",
    "opentelemetry.sdk.trace.export",
    "prometheus_client.openmetrics.exposition",
    "pydantic_settings",
    "rich.console",
    "rich.progress",
    "rich.table",
    "starlette.middleware.cors",
    "typer",
    "uvicorn",
    "uvicorn.protocols.http.httptools_impl",
    "uvloop",
    "yaml",
    "zxingcpp",
)
"""What the service imports. Only this is compiled: bytecode is as large as its source, and most is never loaded."""
ENGINES = ("onnxruntime", "openvino", "torch", "torchvision.io")
"""Those of them that the lock brings are compiled as well."""
COMPILED_WHOLE = ("filelock", "fsspec", "mpmath", "networkx", "sympy", "torch")
"""PyTorch and what it imports, much of it only when it opens a program."""

BYTECODE_ALONE = ("azure",)
"""Packages of which the sources go: generated code, most of it documentation. Tracebacks still name file and line."""

NOBODY_NEEDS = (
    # Tests, and modules of compiled code that only they load.
    "**/tests",
    "numpy/_core/_*_tests.*.so",
    "numpy/_core/_simd.*.so",
    # For compilers and type checkers.
    "**/*.pyi",
    "**/*.pyx",
    "**/*.pxd",
    "**/*.h",
    "**/*.a",
    "numpy/distutils",
    "numpy/f2py",
    # For training, and for programs in C: the Python module has the whole of ONNX Runtime in itself.
    "onnxruntime/tools",
    "onnxruntime/transformers",
    "onnxruntime/quantization",
    "onnxruntime/capi/libonnxruntime.so.*",
    # Google's types for its own services; OTLP's need none of them.
    "google/[a-o]*",
    "google/type",
    # OpenVINO's for other devices, for models that are not ONNX (GGUF, JAX, Paddle, PyTorch, TensorFlow), and its
    # converter, with what reports that one's use.
    "openvino/libs/libopenvino_intel_[gn]pu_plugin.so",
    "openvino/libs/cache.json",
    "openvino/libs/libopenvino_[gjpt]*_frontend.so*",
    "openvino/tools",
    "openvino_telemetry",
    # For PyTorch's compilers, which a program that was exported needs nothing of, and NVIDIA's headers, of which many
    # have no ending. What PyTorch, ONNX Runtime or cuDNN is linked with, or opens by itself, is all there.
    "triton",
    "torch/bin/protoc*",
    "nvidia/*/include",
    "nvidia/*/cccl",
    "nvidia/*/lib/libcufftw.so.*",
    "nvidia/*/lib/libcusolverMg.so.*",
    "nvidia/*/lib/libnvblas.so.*",
    "nvidia/*/lib/libnvperf_*.so",
)
LEXERS = ("__init__.py", "_mapping.py", "diff.py", "python.py")
"""Of Pygments' 250 languages, what Rich needs to show a traceback, and pytest, which is run inside of the images."""

OPENCV = "cv2/cv2.abi3.so"
OPENCV_LIBRARIES = "opencv_python_headless.libs"
OPENCV_KEEPS = ("libpng16", "libavif")
"""What reading a picture calls: libpng, and libavif, which is asked of every picture whether it is one of its own."""

TRAP = ".long 0x0b0f"
"""An instruction that is undefined for ever: UD2 on x86-64 (0F 0B), UDF on AArch64 (upper half zero)."""


def thin(site: Path) -> None:
    """Thin out the site-packages of this environment."""
    for pattern in NOBODY_NEEDS:
        _remove(site.glob(pattern))
    _remove(file for file in (site / "pygments/lexers").glob("*.py") if file.name not in LEXERS)
    if (site / OPENCV).exists():
        hollow_out(site / OPENCV, site / OPENCV_LIBRARIES, OPENCV_KEEPS)
    strip(site)
    compile_imported(site)


def _remove(paths: Iterable[Path]) -> None:
    for path in list(paths):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


# ── Libraries that a module is linked with, but that the service never calls ─────────────────────────────────────────


def hollow_out(module: Path, libraries: Path, keeps: tuple[str, ...]) -> None:
    """Replace the libraries that came with a module by hollow ones, but for those whose names begin as `keeps` says.

    A hollow library has the same name, and every function that the module wants of it; each is one undefined
    instruction. So the module loads as before, and a call that should never happen ends the process at once, instead
    of going on with something made up. Libraries that only those left out needed go altogether.
    """
    kept = [module, *(path for path in libraries.iterdir() if path.name.startswith(keeps))]
    if len(kept) != 1 + len(keeps):
        raise SystemExit(f"{libraries} does not hold each of {keeps} once: look at what the new version is made of")
    needed = {name for path in kept for name in _needed(path)}
    wanted = {symbol for path in kept for symbol in _symbols(path, "--undefined-only")}
    for library in sorted(set(libraries.iterdir()) - set(kept)):
        if library.name in needed:
            _hollow(library, wanted)
        else:
            library.unlink()


def _hollow(library: Path, wanted: dict[str, str] | set[str]) -> None:
    kinds = _symbols(library, "--defined-only")
    functions = sorted(symbol for symbol in kinds if symbol in wanted)
    if data := [symbol for symbol in functions if kinds[symbol] not in "TtWwi"]:
        raise SystemExit(f"{library.name}: {data} are no functions; it cannot be replaced")
    names = [symbol.partition("@")[0] for symbol in functions]
    versions = sorted({symbol.partition("@")[2] for symbol in functions} - {""})
    if len(versions) > 1:
        raise SystemExit(f"{library.name} has several versions of its functions: {versions}")
    lines = ['.section .note.GNU-stack,"",%progbits', ".text"]
    for name in names:
        lines += [f".globl {name}", f'.type {name}, "function"', f"{name}:"]
    with tempfile.TemporaryDirectory() as folder:
        source, binary, script = (Path(folder, name) for name in ("hollow.s", "hollow.o", "hollow.map"))
        source.write_text("\n".join([*lines, TRAP, ""]))
        script.write_text(f"{versions[0]} {{ global: *; }};" if versions else "{ global: *; };")
        library.unlink()  # not written over: it may be one file with a package manager's cache
        _run("as", "-o", str(binary), str(source))
        _run("ld", "-shared", "-z", "noexecstack", "-soname", library.name, "--version-script", str(script),
             "-o", str(library), str(binary))  # fmt: skip


def _needed(path: Path) -> list[str]:
    """The names of the libraries that the loader looks for."""
    lines = (line.split() for line in _run("objdump", "-p", str(path)).splitlines())
    return [words[1] for words in lines if len(words) == 2 and words[0] == "NEEDED"]


def _symbols(path: Path, which: str) -> dict[str, str]:
    """Names of dynamic symbols, `name@VERSION` where they have one, and the letters of their kinds (nm(1))."""
    lines = (line.split() for line in _run("nm", "-D", which, str(path)).splitlines())
    return {words[-1].replace("@@", "@"): words[-2] for words in lines if len(words) >= 2}


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


# ── Symbols and bytecode ─────────────────────────────────────────────────────────────────────────────────────────────


LEFT_AS_THEY_ARE = ("nvidia", "torch")
"""Gigabytes in which there is nothing to strip."""


def strip(site: Path) -> None:
    """Take the debugging symbols out of modules.

    Not out of those that were changed after linking, as wheels' builders do to name the libraries beside them: strip(1)
    cuts what was put at their end out of the segments that are loaded, and says nothing. With torchvision's the loader
    then said "ELF load command address/offset not page-aligned", and torchvision that it was built without libjpeg.
    """
    with tempfile.TemporaryDirectory() as folder:
        stripped = Path(folder, "stripped.so")
        for module in site.rglob("*.so"):
            if module.relative_to(site).parts[0] in LEFT_AS_THEY_ARE:
                continue
            _run("strip", "--strip-unneeded", "-o", str(stripped), str(module))
            if _loaded_sizes(stripped) == _loaded_sizes(module):
                module.unlink()  # not written over: see above
                shutil.copyfile(stripped, module)


def _loaded_sizes(path: Path) -> list[str]:
    """How much of a file each segment takes, and how much memory."""
    lines = _run("objdump", "-p", str(path)).splitlines()
    return [after for line, after in itertools.pairwise(lines) if line.split()[:1] == ["LOAD"]]


def compile_imported(site: Path) -> None:
    """Compile what the service imports; never checked against its source, because the file system does not change."""
    sys.dont_write_bytecode = True
    _remove(site.rglob("__pycache__"))
    for name in (*IMPORTED, *installed(ENGINES)):
        importlib.import_module(name)
    for name in COMPILED_WHOLE:  # not what is written for another version of Python
        compileall.compile_dir(site / name, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    for source in sorted(_loaded(site)):
        alone = source.relative_to(site).parts[0] in BYTECODE_ALONE
        py_compile.compile(
            str(source),
            cfile=str(source.with_suffix(".pyc")) if alone else None,
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
        if alone:
            source.unlink()


def installed(names: Iterable[str]) -> list[str]:
    """Those of these modules of which the package is there."""
    return [name for name in names if importlib.util.find_spec(name.partition(".")[0])]


def _loaded(site: Path) -> Iterator[Path]:
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file is not None and file.endswith(".py") and site in Path(file).parents:
            yield Path(file)


# ── What is left has to work ─────────────────────────────────────────────────────────────────────────────────────────


def check() -> None:
    """Import all of it, and read a picture with each library that reads pictures: torchvision says nothing before."""
    for name in (*IMPORTED, *installed(ENGINES)):
        importlib.import_module(name)
    import cv2
    import numpy as np

    pixels = np.full((16, 24, 3), 90, np.uint8)
    _, jpeg = cv2.imencode(".jpg", pixels)
    assert cv2.imdecode(jpeg, cv2.IMREAD_COLOR).shape == pixels.shape
    if installed(["torchvision"]):
        import torch
        import torchvision.io

        assert torchvision.io.decode_jpeg(torch.from_numpy(jpeg)).shape == (3, 16, 24)


if __name__ == "__main__":
    {"thin": lambda: thin(Path(sysconfig.get_path("purelib"))), "check": check}[sys.argv[1]]()
