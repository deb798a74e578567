"""What pyproject.toml cannot say: the description of the gRPC messages is compiled from its proto when this is built.

Compiling needs grpcio-tools, running does not: what comes out is data (a `FileDescriptorSet`), from which protobuf
makes the messages, whatever release of it is there.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOM = Path(__file__).parent / "app" / "rpc"


class BuildWithProtocol(build_py):
    """Also when the project is only linked (`pip install -e .`): then the file lies beside its proto all the same."""

    def run(self) -> None:
        """Compile the proto, then do what is done usually."""
        from grpc_tools import protoc

        source, target = ROOM / "inference.proto", ROOM / "inference.binpb"
        arguments = ["protoc", f"--proto_path={ROOM}", f"--descriptor_set_out={target}", str(source)]
        if protoc.main(arguments) != 0:
            raise RuntimeError(f"{source} cannot be compiled")
        super().run()


setup(cmdclass={"build_py": BuildWithProtocol})
