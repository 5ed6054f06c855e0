"""Pickles that would run something, in every way that a pickle can call, and TorchScript in its disguises.

Every gadget, run, makes the file whose path it was given. Nothing here is run by the tests: the doors must refuse it.
"""

import io
import pickle
import struct
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

GLOBALS = """
os.system posix.system nt.system os.popen os.execvp os.spawnlp os.remove os.mkdir posix.mkdir
os.open subprocess.Popen subprocess.call subprocess.run subprocess.check_output builtins.eval
builtins.exec builtins.open builtins.compile builtins.getattr builtins.setattr builtins.__import__
builtins.map builtins.filter builtins.globals builtins.vars builtins.type
builtins.object.__subclasses__ builtins.breakpoint builtins.input __builtin__.eval
__builtin__.execfile __builtin__.apply __builtin__.file io.open io.FileIO _io.FileIO codecs.open
pathlib.Path.touch pathlib.PosixPath shutil.rmtree shutil.copy shutil.move tempfile.mkdtemp
importlib.import_module runpy.run_path runpy._run_code pdb.run timeit.timeit cProfile.run
profile.run trace.Trace doctest.testfile code.interact pty.spawn platform.popen ctypes.CDLL
ctypes.memmove ctypes.string_at cffi.FFI marshal.loads types.FunctionType types.CodeType
pickle.loads pickle.load _pickle.loads dill.loads cloudpickle.loads joblib.load shelve.open dbm.open
sqlite3.connect zipimport.zipimporter functools.partial functools.reduce operator.attrgetter
operator.methodcaller operator.itemgetter itertools.starmap copyreg.__newobj__
copyreg._reconstructor copyreg.add_extension copy.deepcopy weakref.finalize atexit.register
signal.signal threading.Thread multiprocessing.Process asyncio.run
concurrent.futures.ProcessPoolExecutor socket.create_connection urllib.request.urlopen
urllib.request.urlretrieve http.client.HTTPConnection smtplib.SMTP ftplib.FTP webbrowser.open
logging.FileHandler logging.config.dictConfig site.addsitedir sys.setrecursionlimit gc.collect
inspect.getsource numpy.load numpy.save numpy.fromfile numpy.memmap numpy.vectorize
numpy.f2py.compile numpy.testing.measure numpy.core.multiarray.fromfile numpy.core.records.fromfile
numpy.lib.npyio.load numpy.distutils.exec_command.exec_command numpy.ctypeslib.load_library
numpy.matrix numpy.ma.core._mareconstruct numpy.random._pickle.__generator_ctor scipy.io.loadmat
scipy.sparse.load_npz scipy.weave.inline scipy.sparse.csc_matrix.toarray
scipy._lib._ccallback.LowLevelCallable chumpy.ch.Ch.__class__ chumpy.os.system torch.load
torch.jit.load torch.save torch.hub.load torch.utils.cpp_extension.load
torch.storage._load_from_bytes torch.serialization.load torch.package.PackageImporter
torch.classes.load_library torch.ops.load_library torch._C._jit_load torch._dynamo.optimize
torch.fx.Graph torch.fx.graph_module.reduce_graph_module
torch.multiprocessing.reductions.rebuild_storage_fd
torch.multiprocessing.reductions.rebuild_storage_filename torch.from_file
torch.FloatStorage.from_file torch.UntypedStorage.from_file torch._utils._import_dotted_name
torch._utils._rebuild_qtensor torch._tensor._rebuild_from_type torch._tensor._rebuild_from_type_v2
torch.nn.Module torch.distributed.rpc.rpc_sync pandas.read_pickle pandas.eval
joblib.numpy_pickle.load yaml.load yaml.unsafe_load ruamel.yaml.load jinja2.Template cv2.imwrite
PIL.Image.open PIL.ImageMath.eval matplotlib.pyplot.savefig sklearn.externals.joblib.load
IPython.embed pip.main setuptools.sandbox.run_setup pkg_resources.run_script distutils.spawn.spawn
commands.getoutput popen2.popen3 pose2d.files.storage.write_json pose2d.files.storage.sha256
run_fitting.main eval3dpw.openworld.world.make.make_world
"""


def names() -> list[tuple[str, str]]:
    """Module and name of everything that a gadget asks for."""
    return [tuple(dotted.rsplit(".", 1)) for dotted in GLOBALS.split()]  # type: ignore[misc]


def _argument(mark: Path) -> bytes:
    return pickle.dumps(f"touch {mark}", 2)[2:-1]


def calls(module: str, name: str, mark: Path) -> dict[str, bytes]:
    """The ways in which a pickle can call a name, as whole pickles."""
    argument, asked = _argument(mark), f"{module}\n{name}\n".encode()
    texts = b"".join(b"\x8c" + bytes((len(word),)) + word for word in (module.encode(), name.encode()))
    return {
        "REDUCE": b"\x80\x02c" + asked + argument + b"\x85R.",
        "NEWOBJ": b"\x80\x02c" + asked + argument + b"\x85\x81.",
        "NEWOBJ_EX": b"\x80\x04c" + asked + argument + b"\x85}\x92.",
        "INST": b"(" + argument + b"i" + asked + b".",
        "OBJ": b"(c" + asked + argument + b"o.",
        "STACK_GLOBAL": b"\x80\x04" + texts + b"\x93" + argument + b"\x85R.",
        "BUILD": b"\x80\x02c" + asked + argument + b"b.",
        "in a dictionary": b"\x80\x02}X\x05\x00\x00\x00posesc" + asked + argument + b"\x85Rs.",
        "as a key": b"\x80\x02}c" + asked + argument + b"\x85RNs.",
        "for an array": b"\x80\x02cnumpy\nndarray\n(c" + asked + argument + b"\x85RtR.",
        "for a storage": b"\x80\x02(X\x07\x00\x00\x00storagec" + asked + argument + b"\x85RtQ.",
        "extension code": b"\x80\x02\x82\x01" + argument + b"\x85R.",
    }


def in_checkpoint(program: bytes, legacy: bool) -> bytes:
    """A pickle in the place of a checkpoint's own."""
    if legacy:
        head = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
        return head + pickle.dumps({"little_endian": True, "protocol_version": 1001}, 2) + program + pickle.dumps([], 2)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", program)
        archive.writestr("a/byteorder", "little")
    return buffer.getvalue()


def script() -> bytes:
    """A TorchScript archive whose `__setstate__` makes the file it_ran in the working folder when it is loaded."""
    import torch

    class Holder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = torch.zeros(2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

        @torch.jit.export
        def __getstate__(self):
            return (self.w, self.training)

        @torch.jit.export
        def __setstate__(self, state: tuple[torch.Tensor, bool]) -> None:
            self.training = state[1]
            made = torch.from_file("it_ran", True, 8, dtype=torch.uint8)
            made.fill_(88)
            self.w = made

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(Holder()), buffer)
    return buffer.getvalue()


def disguises(script: bytes) -> Iterator[tuple[str, bytes]]:
    """Ways to make a TorchScript archive look like something else to one of two readers."""

    def packed(members: dict[str, bytes], packing: int = zipfile.ZIP_STORED) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", packing) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return buffer.getvalue()

    with zipfile.ZipFile(io.BytesIO(script)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    root = next(iter(members)).split("/")[0]
    constants = members[f"{root}/constants.pkl"]
    without = {name: content for name, content in members.items() if not name.endswith("constants.pkl")}
    yield "as it is", script
    yield "packed", packed(members, zipfile.ZIP_DEFLATED)
    yield "bytes before", b"\x80\x02}." + script
    yield "bytes behind", script + b"\x00" * 100
    yield "no constants", packed(without)
    yield "constants in capitals", packed(without | {f"{root}/CONSTANTS.PKL": constants})
    yield "another folder", packed({name.replace(root, "x", 1): content for name, content in members.items()})
    yield "two folders", packed(without | {"b/constants.pkl": constants})
    yield "backslashes", packed({name.replace("/", "\\"): content for name, content in members.items()})
    yield "a zero in the name", script.replace(b"/constants.pkl", b"/c\x00nstants.pkl")
    yield "names differ in the record", script.replace(b"/constants.pkl", b"/xonstants.pkl", 1)
    last = script.rfind(b"/constants.pkl")
    yield "names differ in the directory", script[:last] + b"/xonstants.pkl" + script[last + 14 :]
    yield "two archives", packed({"a/data.pkl": b"\x80\x02}."}) + script
    yield "in a comment", script[:-2] + struct.pack("<H", min(len(script), 65535)) + script[:65535]
    yield "behind a checkpoint", in_checkpoint(b"\x80\x02}.", legacy=True) + script
    yield "in a record", packed({"a/data.pkl": b"\x80\x02}.", "a/data/0": script, "a/constants.pkl": constants})
