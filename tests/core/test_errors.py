"""Errors: text, builtin twins, exit codes, pickling."""

import pickle

import pytest

from deepbio import errors

BUILTINS = {
    errors.OptionError: ValueError,
    errors.ImageError: ValueError,
    errors.InputMismatch: ValueError,
    errors.UnknownModel: LookupError,
    errors.CardError: ValueError,
    errors.WeightsError: ValueError,
    errors.OutOfMemory: MemoryError,
    errors.OutputError: OSError,
    errors.TrainingError: ArithmeticError,
    errors.MissingPackage: ImportError,
    errors.Cancelled: Exception,
}


def make(kind: type[errors.DeepBioError]) -> errors.DeepBioError:
    if kind is errors.MissingPackage:
        return errors.MissingPackage("zarr", "Reading OME-Zarr", "zarr")
    return kind("Found a cat.", "Bring a dog.")


def test_every_error_is_in_the_table() -> None:
    own = {getattr(errors, name) for name in errors.__all__} - {errors.DeepBioError}
    assert own == set(BUILTINS)


@pytest.mark.parametrize("kind", BUILTINS)
def test_is_ours_and_the_builtin(kind: type[errors.DeepBioError]) -> None:
    assert issubclass(kind, errors.DeepBioError)
    assert issubclass(kind, BUILTINS[kind])


@pytest.mark.parametrize("kind", BUILTINS)
def test_text_is_message_and_hint(kind: type[errors.DeepBioError]) -> None:
    error = make(kind)
    assert str(error) == f"{error.message} {error.hint}"
    assert error.message
    assert error.hint


@pytest.mark.parametrize("kind", BUILTINS)
def test_survives_pickling(kind: type[errors.DeepBioError]) -> None:
    error = make(kind)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (again.message, again.hint, str(again)) == (error.message, error.hint, str(error))
    assert again.exit_code == error.exit_code


def test_missing_package_gives_the_pip_line() -> None:
    error = errors.MissingPackage("zarr", "Reading OME-Zarr", "zarr")
    assert error.package == "zarr"
    assert error.hint == 'Install it with: pip install "deepbio-imaging[zarr]"'
    assert errors.MissingPackage("hnswlib", "Search").hint == "Install it with: pip install hnswlib"


def test_exit_codes_tell_errors_apart() -> None:
    codes = {kind.__name__: kind.exit_code for kind in BUILTINS}
    assert codes.pop("CardError") == codes["WeightsError"] == 6  # both: the model package is broken
    assert len(set(codes.values())) == len(codes)
    assert not set(codes.values()) & {0, 1, 70}
