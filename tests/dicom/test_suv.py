"""SUVbw by the rules of each vendor, or the reason why there is none."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset

from render.dicom.pixels import load_volume
from render.dicom.series import select
from render.dicom.source import scan
from render.dicom.suv import DAY_S, PetHeader, read_pet, suv_factor
from render.transfer import Window, WindowFunction
from tests.dicom.synthetic import ramp, write_series

F18_S = 6588.0
NOON = 12 * 3600.0

PET = PetHeader(
    corrections=("NORM", "DECY", "ATTN"),
    decay_correction="START",
    suv_type="",
    weight_kg=80.0,
    dose_bq=4e8,
    half_life_s=F18_S,
    series_s=NOON,
    acquisition_s=NOON + 60,
    injection_of_day_s=NOON - F18_S,
)


def test_one_half_life_after_the_injection_half_the_dose_is_left() -> None:
    assert suv_factor([PET], "BQML") == (pytest.approx(80_000 / 2e8), "")


def test_a_weight_of_70_kg_in_a_body_that_took_all_evenly_is_suv_1() -> None:
    header = replace(PET, weight_kg=70.0, injection_of_day_s=NOON)
    factor, _ = suv_factor([header], "BQML")
    assert factor is not None
    assert factor * (header.dose_bq / 70_000) == pytest.approx(1.0)


@given(st.floats(0, 5), st.floats(30, 200), st.floats(1e7, 1e10))
def test_later_scans_and_heavier_patients_give_larger_factors(half_lives: float, kg: float, bq: float) -> None:
    header = replace(PET, injection_s=NOON - half_lives * F18_S, injection_of_day_s=None, weight_kg=kg, dose_bq=bq)
    factor, _ = suv_factor([header], "BQML")
    assert factor == pytest.approx(1000 * kg / bq * 2**half_lives, rel=1e-9)


class TestTimes:
    def test_an_injection_before_midnight(self) -> None:
        header = replace(PET, series_s=DAY_S + 600, acquisition_s=DAY_S + 700, injection_of_day_s=DAY_S - 600)
        assert suv_factor([header], "BQML")[0] == pytest.approx(80_000 / 4e8 * 2 ** (1200 / F18_S))

    def test_the_full_date_and_time_of_the_injection_is_preferred(self) -> None:
        header = replace(PET, injection_s=NOON - 2 * F18_S)
        assert suv_factor([header], "BQML")[0] == pytest.approx(80_000 / 1e8)

    def test_an_altered_date_of_the_injection_gives_way_to_its_time_of_day(self) -> None:
        header = replace(PET, injection_s=NOON - F18_S - 23 * DAY_S)
        assert suv_factor([header], "BQML") == suv_factor([PET], "BQML")
        alone = replace(header, injection_of_day_s=None)
        assert suv_factor([alone], "BQML") == (
            None,
            "the injection lies 553.8 h before the scan, 302.6 half-lives: 0 to 10 are plausible",
        )

    def test_an_injection_after_the_scan(self) -> None:
        header = replace(PET, injection_s=NOON + 60, injection_of_day_s=None)
        factor, reason = suv_factor([header], "BQML")
        assert (factor, reason.split(":")[0]) == (None, "the injection lies -0.0 h before the scan, -0.0 half-lives")

    def test_zirconium_is_scanned_days_later(self) -> None:
        header = replace(PET, half_life_s=78.4 * 3600, injection_s=NOON - 3 * DAY_S, injection_of_day_s=None)
        assert suv_factor([header], "BQML")[0] == pytest.approx(80_000 / 4e8 * 2 ** (72 / 78.4))

    def test_a_series_made_later_gives_way_to_ges_scan_time(self) -> None:
        late = replace(PET, series_s=NOON + 7200, vendor_scan_s=NOON)
        assert suv_factor([late], "BQML") == suv_factor([PET], "BQML")

    def test_of_ges_scan_time_with_another_date_the_time_of_day_is_left(self) -> None:
        late = replace(PET, series_s=NOON + 7200, vendor_scan_s=NOON - 23 * DAY_S)
        assert suv_factor([late], "BQML")[0] == pytest.approx(suv_factor([PET], "BQML")[0])

    def test_a_series_made_later_without_it_is_reckoned_back_from_the_frame(self) -> None:
        # A bed that began 600 s into the scan and took 300 s: its mean activity is that of about 747.6 s.
        rate = math.log(2) / F18_S
        times = 600 + np.linspace(0, 300, 100_001)
        mean_activity = np.exp(-rate * times).mean()
        reference_s = -math.log(mean_activity) / rate
        late = replace(PET, series_s=NOON + 7200, acquisition_s=NOON + 600, reference_s=reference_s, duration_s=300.0)
        assert suv_factor([late], "BQML")[0] == pytest.approx(suv_factor([PET], "BQML")[0], rel=1e-6)

    def test_with_neither_there_is_none(self) -> None:
        late = replace(PET, series_s=NOON + 7200)
        assert suv_factor([late], "BQML") == (
            None,
            "Series Time lies after the acquisition, and nothing else tells when the scan began",
        )

    def test_the_first_slice_acquired_decides_whether_the_series_time_counts(self) -> None:
        later = replace(PET, acquisition_s=NOON + 900)
        assert suv_factor([later, PET], "BQML") == suv_factor([PET], "BQML")

    def test_decay_corrected_to_the_injection_needs_no_times(self) -> None:
        header = replace(PET, decay_correction="ADMIN", injection_of_day_s=None, series_s=None)
        assert suv_factor([header], "BQML") == (pytest.approx(80_000 / 4e8), "")


class TestVendors:
    def test_philips_counts_have_a_factor(self) -> None:
        assert suv_factor([replace(PET, suv_scale=0.00073)], "CNTS") == (0.00073, "")

    def test_or_one_of_activity(self) -> None:
        assert suv_factor([replace(PET, activity_scale=2.5)], "CNTS")[0] == pytest.approx(2.5 * 80_000 / 2e8)

    def test_counts_without_either(self) -> None:
        assert suv_factor([PET], "CNTS") == (None, "counts without the vendor's factor")

    def test_grams_per_ml_are_suv_unless_by_another_mass(self) -> None:
        assert suv_factor([PET], "GML") == (1.0, "")
        assert suv_factor([replace(PET, suv_type="BW")], "GML") == (1.0, "")
        assert suv_factor([replace(PET, suv_type="LBM")], "GML") == (None, "SUV Type is LBM, not by body weight")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"corrections": ("DECY",)}, "Corrected Image lacks ATTN: not corrected for attenuation"),
        ({"corrections": ("ATTN",)}, "Corrected Image lacks DECY: not corrected for decay"),
        ({"decay_correction": "NONE"}, "Decay Correction is NONE, not START or ADMIN"),
        ({"decay_correction": ""}, "Decay Correction is missing, not START or ADMIN"),
        ({"weight_kg": 0.0}, "Patient's Weight missing or 0"),
        ({"dose_bq": 0.0, "half_life_s": 0.0}, "Radionuclide Total Dose, Radionuclide Half Life missing or 0"),
        ({"injection_of_day_s": None}, "Radiopharmaceutical Start Time is missing"),
        ({"acquisition_s": None}, "Acquisition Date or Time is missing"),
    ],
)
def test_a_missing_attribute_is_the_reason(change: dict[str, object], reason: str) -> None:
    assert suv_factor([replace(PET, **change)], "BQML") == (None, reason)  # type: ignore[arg-type]


def test_qibas_own_spelling_of_decy() -> None:
    assert suv_factor([replace(PET, corrections=("ATTN", "DECAY"))], "BQML") == suv_factor([PET], "BQML")


def test_units_that_are_no_concentration() -> None:
    assert suv_factor([PET], "CPS") == (None, "Units CPS: no concentration of activity")
    assert suv_factor([PET], "") == (None, "Units are missing: no concentration of activity")


def test_slices_with_factors_of_their_own_have_none_in_common() -> None:
    other = replace(PET, weight_kg=81.0)
    assert suv_factor([PET, other], "BQML") == (None, "the factor differs between slices, 0.0004 to 0.000405")


def pet_attributes(**changes: object) -> dict[str, object]:
    drug = Dataset()
    drug.RadiopharmaceuticalStartTime = "101012.00"
    drug.RadionuclideTotalDose = "4e8"
    drug.RadionuclideHalfLife = "6588"
    return {
        "Modality": "PT",
        "Units": "BQML",
        "CorrectedImage": ["DECY", "ATTN"],
        "DecayCorrection": "START",
        "PatientWeight": "80",
        "SeriesDate": "20200101",
        "SeriesTime": "120000",
        "AcquisitionDate": "20200101",
        "AcquisitionTime": "120000.5",
        "RadiopharmaceuticalInformationSequence": [drug],
        **changes,
    }


class TestVolume:
    def test_the_volume_is_in_suv_whatever_its_slopes(self, tmp_path: Path) -> None:
        stored = ramp((2, 4, 5))
        write_series(tmp_path / "one", stored, RescaleSlope=2, RescaleIntercept=0, **pet_attributes())
        slopes = [{"RescaleSlope": slope, "RescaleIntercept": 0} for slope in (2, 3)]
        write_series(tmp_path / "own", stored, per_slice=slopes, **pet_attributes())
        one, own = (load_volume(select(scan(tmp_path / name))) for name in ("one", "own"))
        factor = 80_000 / (4e8 * 2 ** (-6588 / 6588))
        assert (one.codes.dtype, own.codes.dtype) == (np.int16, np.float32)
        np.testing.assert_allclose(one.values(), stored * 2 * factor, rtol=1e-6)
        np.testing.assert_allclose(own.values(), stored * np.array([2, 3])[:, None, None] * factor, rtol=1e-6)
        for volume in (one, own):
            assert (volume.info.units, volume.info.source_units) == ("SUVbw", "Bq/ml")
            assert volume.info.suv_factor == pytest.approx(factor)
            assert not volume.info.warnings

    def test_windows_go_with_the_values(self, tmp_path: Path) -> None:
        write_series(
            tmp_path, ramp((2, 4, 5)), WindowCenter=2500.5, WindowWidth=5001, **pet_attributes(DecayCorrection="ADMIN")
        )
        (window,) = select(scan(tmp_path)).info.windows
        assert window.function is WindowFunction.LINEAR_EXACT
        source = Window(2500.5, 5001, WindowFunction.LINEAR)
        values = np.arange(0, 5200, 100)
        np.testing.assert_allclose(window.apply(values * 80_000 / 4e8), source.apply(values), atol=1e-12)

    def test_without_it_the_unit_stays_and_the_reason_is_said(self, tmp_path: Path) -> None:
        write_series(tmp_path, ramp((2, 4, 5)), **pet_attributes(PatientWeight=""))
        info = select(scan(tmp_path)).info
        assert (info.units, info.suv_factor) == ("Bq/ml", None)
        assert info.warnings == ("no SUV: Patient's Weight missing or 0",)

    def test_malformed_numbers_are_missing_ones(self) -> None:
        dataset = Dataset()
        dataset.Modality = "PT"
        dataset.add_new("PatientWeight", "LO", "heavy")
        dataset.add_new("SeriesTime", "LO", "noon")
        header = read_pet(dataset)
        assert (header.weight_kg, header.series_s) == (0.0, None)

    def test_other_modalities_have_none_and_say_nothing(self, tmp_path: Path) -> None:
        write_series(tmp_path, **pet_attributes(Modality="NM"))
        info = select(scan(tmp_path)).info
        assert (info.suv_factor, info.warnings) == (None, ())


@pytest.mark.data
class TestPetCt:
    def test_suv_is_0_00042111_bq_per_ml(self, real_data: Path) -> None:
        plan = select(scan(real_data / "petct_acrin_fusion" / "pet_ac"))
        assert plan.info.suv_factor == pytest.approx(0.00042111, abs=5e-9)
        volume = load_volume(plan)
        middle = plan.slices[67]
        raw = dcmread(plan.root / middle.instance.path).pixel_array * middle.frame.slope
        np.testing.assert_allclose(volume.values()[67], raw * 0.00042111, rtol=1e-5)
        assert volume.info.units == "SUVbw"

    def test_the_mapping_that_is_off_by_1000_is_not_believed(self, real_data: Path) -> None:
        slopes = set()
        for path in (real_data / "petct_acrin_fusion" / "rwvm").rglob("*"):
            if path.is_file():
                for image in dcmread(path).ReferencedImageRealWorldValueMappingSequence:
                    slopes |= {
                        float(item.RealWorldValueSlope)
                        for item in image.RealWorldValueMappingSequence
                        if item.MeasurementUnitsCodeSequence[0].CodeValue == "{SUVbw}g/ml"
                    }
        assert sorted(slopes)[0] == pytest.approx(0.00042111e-3, rel=1e-3)
        # Scanned together, it changes nothing.
        found = scan(real_data / "petct_acrin_fusion")
        factors = [plan.info.suv_factor for plan in found.volumes if plan.info.units == "SUVbw"]
        assert factors == [pytest.approx(0.00042111, abs=5e-9)]

    def test_without_attenuation_correction_there_is_none(self, real_data: Path) -> None:
        info = select(scan(real_data / "petct_acrin_fusion" / "pet_nac")).info
        assert info.units != "SUVbw"
        assert [line for line in info.warnings if line.startswith("no SUV")] == [
            "no SUV: Units PROPCNTS: no concentration of activity"
        ]
