"""Energy, carbon, water and money of fleets, and where to put them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim import EconomicsModel, Hardware, Infra, PlacementOptimizer, SustainabilityModel, Systems
from mlsysim.catalog.infra import GridProfile
from mlsysim.catalog.systems import Fleet, Node
from mlsysim.errors import InvalidInputError, MissingFactError, MLSysimError

FLEET = "Research_256"
GREEN, MONEY, PLACES = SustainabilityModel(), EconomicsModel(), PlacementOptimizer()
DAYS, SHARE = st.floats(0.01, 3650), st.floats(0, 1)
REGIONS = st.sampled_from(["Quebec", "Norway", "US_Avg", "Poland", "France", "India_Avg"])


def fleet(device, nodes=1250, per_node=8):
    node = Node.define("A node", accelerator=Hardware[device], accelerators_per_node=per_node, link_bandwidth="50 GB/s")
    return Fleet.define("A fleet", node=node, count=nodes, fabric=Systems.Fabrics.InfiniBand_HDR)


def test_gpt3_matches_patterson_2021_table_4():
    # 10,000 V100 at a measured 330 W for 14.8 days, PUE 1.10, 0.429 kg/kWh: 1,287 MWh and 552 t
    site = GridProfile.define("Their site", carbon_intensity="0.429 kg/kWh", pue=1.10)
    answer = GREEN.solve(fleet("V100"), 14.8, site, power_per_device="330 W", embodied_carbon_per_device=0)
    assert answer.total_energy_kwh.magnitude == pytest.approx(1287e3, rel=0.01)
    assert answer.carbon_footprint.to("tonne").magnitude == pytest.approx(552, rel=0.01)


def test_a_month_of_256_h100_as_specified():
    answer = GREEN.solve(FLEET, 30)
    assert answer.it_energy_kwh.magnitude == pytest.approx(129_024, rel=1e-9)
    assert answer.total_energy_kwh.to("kWh").magnitude == pytest.approx(144_506.88, rel=1e-9)
    bill = MONEY.solve(FLEET, 30, unit_price_usd=30_000)
    assert bill.capex_usd == pytest.approx(210_410.959, abs=1e-2)
    assert bill.opex_energy_usd == pytest.approx(17_340.826, abs=1e-2)
    assert bill.opex_maintenance_usd == pytest.approx(31_561.644, abs=1e-2)
    assert bill.tco_usd == pytest.approx(259_313.428, abs=1e-2)


def test_poland_emits_more_than_ten_times_as_much_as_quebec():
    dirty, clean = GREEN.solve(FLEET, 30, "Poland"), GREEN.solve(FLEET, 30, "Quebec")
    assert dirty.carbon_footprint_kg > 10 * clean.carbon_footprint_kg


@given(DAYS, SHARE, REGIONS, st.floats(0, 2000))
@settings(max_examples=40, deadline=None)
def test_energy_carbon_and_water_obey_their_definitions(days, busy, region, made):
    r = GREEN.solve(FLEET, days, region, busy, made).si
    grid, chip = Infra[region].si, Hardware.H100.si
    low, high = (power * 256 * days * 86400 for power in (chip.idle_power, chip.tdp))
    assert low * (1 - 1e-9) <= r.it_energy <= high * (1 + 1e-9)
    assert r.facility_energy == pytest.approx(r.it_energy * grid.pue)
    assert r.carbon_footprint == pytest.approx(r.facility_energy * grid.carbon_intensity + 256 * made * days / 1095)
    if grid.wue is not None:  # water usage effectiveness is for the energy of the IT equipment, not of the facility
        assert r.water_usage_liters == pytest.approx(r.it_energy * grid.wue * 1e3, rel=1e-9, abs=1e-9)


@given(st.lists(st.floats(1, 900), min_size=2, max_size=24))
@settings(max_examples=30, deadline=None)
def test_hours_of_a_day_average_and_shifted_load_lies_between_the_extremes(hours):
    from mlsysim import ureg

    curve = ureg.Quantity(np.array(hours), "g/kWh")
    flat = GREEN.solve(FLEET, len(hours) / 24, hourly_intensity=curve)
    assert flat.carbon_intensity.to("g/kWh").magnitude == pytest.approx(np.mean(hours))
    load = np.where(np.array(hours) == min(hours), 5.0, 1.0)
    moved = GREEN.solve(FLEET, len(hours) / 24, hourly_intensity=curve, hourly_load=load)
    assert min(hours) - 1e-6 <= moved.carbon_intensity.to("g/kWh").magnitude <= np.mean(hours) + 1e-6


@given(DAYS, REGIONS, st.floats(0, 0.2), st.floats(0, 0.5), st.floats(0, 500), st.floats(0, 20))
@settings(max_examples=40, deadline=None)
def test_cost_is_the_exact_sum_of_its_parts(days, region, interest, left, tax, watt):
    r = MONEY.solve(FLEET, days, None, region, discount_rate=interest, residual_share=left, unit_price_usd=25_000,
                    carbon_price_per_ton=tax, facility_usd_per_watt=watt, staff_usd_per_year=1e5)  # fmt: skip
    assert r.tco_usd == r.capex_usd + r.total_opex_usd
    parts = r.opex_energy_usd + r.opex_maintenance_usd + r.si.staff + r.si.carbon_charge
    assert r.total_opex_usd == pytest.approx(parts, rel=1e-12)
    assert r.si.carbon_charge == pytest.approx(r.carbon_footprint_kg * tax / 1e3, abs=1e-9)


def test_a_loan_is_repaid_as_in_the_nrel_manual():
    # NREL/TP-462-5173: 8 % over 10 years is 0.14903 a year
    r = MONEY.solve(FLEET, 365, amortization_years=10, discount_rate=0.08, unit_price_usd=1000)
    assert r.capex_usd == pytest.approx(0.14903 * 256_000, rel=1e-4)


def test_renting_breaks_even_where_owning_costs_the_same():
    r = MONEY.solve(FLEET, 365, unit_price_usd=30_000, cloud_usd_per_hour=3.0, used_share=0.5)
    days = r.break_even.to("day").magnitude
    owned = MONEY.solve(FLEET, days, unit_price_usd=30_000, amortization_years=days / 365, cloud_usd_per_hour=3.0,
                        used_share=0.5)  # fmt: skip
    assert owned.tco_usd == pytest.approx(owned.cloud_usd, rel=1e-9)


def test_a_token_costs_what_the_fleet_costs_over_the_tokens_it_makes():
    r = MONEY.solve(FLEET, 365, unit_price_usd=30_000, tokens_per_second=1e5, used_share=0.4, api_usd_per_million=0.5)
    made = 1e5 * 0.4 * 365 * 86400
    assert r.si.cost_per_token == pytest.approx(r.tco_usd / made)
    assert r.si.break_even_volume == pytest.approx(r.tco_usd / (365 * 86400) / 0.5e-6)


def test_unknown_facts_are_told_not_guessed():
    with pytest.raises(MissingFactError, match="unit_price_usd="):
        MONEY.solve(fleet("Apollo4", 1000, 1), 365, power_per_device="1 W")
    nameless = Hardware.H100.define(
        "A chip", release_year=2027, vendor="me", peak_fp16="1 PFLOP/s", memory_capacity="80 GB",
        memory_bandwidth="3 TB/s", dispatch_latency="1 us",
    )  # fmt: skip
    node = Node.define("Its node", accelerator=nameless, accelerators_per_node=8, link_bandwidth="50 GB/s")
    rows = Fleet.define("Its fleet", node=node, count=2, fabric=Systems.Fabrics.InfiniBand_HDR)
    with pytest.raises(MissingFactError, match="power_per_device="):
        GREEN.solve(rows, 30)


def test_the_fleets_own_region_is_honoured():
    here = Fleet.define("There", node=Systems.Nodes.DGX_H100, count=4, fabric=Systems.Fabrics.InfiniBand_NDR,
                        region=Infra.Norway)  # fmt: skip
    assert GREEN.solve(here, 30).region_name == Infra.Norway.name
    assert MONEY.solve(here, 30).pue == Infra.Norway.pue
    told = GREEN.solve(FLEET, 30)
    assert any("US_Avg" in note for note in told.notes)


def test_arrays_equal_their_elements():
    days, busy = np.array([1.0, 30.0, 365.0]), np.array([[0.2], [1.0]])
    green, money = GREEN.solve(FLEET, days, "France", busy), MONEY.solve(FLEET, days, None, "France", mfu=busy)
    for i in range(2):
        for j in range(3):
            one = GREEN.solve(FLEET, days[j], "France", busy[i, 0])
            assert green.carbon_footprint_kg[i, j] == pytest.approx(one.carbon_footprint_kg)
            bill = MONEY.solve(FLEET, days[j], None, "France", mfu=busy[i, 0])
            assert money.tco_usd[i, j] == pytest.approx(bill.tco_usd)
    stacked = GREEN.solve(FLEET, 30, Infra.stack(["Quebec", "Poland"]))
    assert stacked.carbon_footprint_kg[1] == pytest.approx(GREEN.solve(FLEET, 30, "Poland").carbon_footprint_kg)


def test_placement_agrees_with_asking_each_region():
    names = ["US_Avg", "Quebec", "Poland", "AWS_EU_North_1"]
    best = PLACES.solve(FLEET, 30, names, 100)
    each = {name: MONEY.solve(FLEET, 30, None, name, carbon_price_per_ton=100).tco_usd for name in names}
    assert best.best_region == min(each, key=each.get)
    assert best.lowest_tco == pytest.approx(min(each.values()))
    assert best.total_searched == 4
    clean = PLACES.solve(FLEET, 30, names, objective="carbon")
    assert clean.carbon_footprint * 1e3 == pytest.approx(GREEN.solve(FLEET, 30, clean.best_region).carbon_footprint_kg)


def test_placement_names_ties_and_refuses_unknown_regions():
    alike = PLACES.solve(FLEET, 30, ["Norway", "Quebec"], 0, kwh_price=0.1)
    assert alike.ties == ("Quebec",)
    assert any("tie" in note for note in alike.notes)
    with pytest.raises(InvalidInputError, match="did you mean Iowa"):
        PLACES.solve(FLEET, 30, ["Iowaa", "Quebec"])


def test_light_takes_time_london_to_new_york():
    # 5,570 km on the great circle; 200,000 km/s in fibre; there and back
    far = PLACES.solve(FLEET, 30, [GridProfile.define("New York", carbon_intensity="300 g/kWh", pue=1.2, latitude=40.71,
                                                      longitude=-74.01)], objective="latency", users_at=(51.51, -0.13))  # fmt: skip
    assert far.latency_ms == pytest.approx(55.7, rel=0.01)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: GREEN.solve(FLEET, -30),
        lambda: GREEN.solve(FLEET, float("nan"), mfu=1.5),
        lambda: GREEN.solve("Resarch_256", 30),
        lambda: GREEN.solve(FLEET, "3 kg"),
        lambda: GREEN.solve(FLEET, 30, hourly_load=[1, 2]),
        lambda: MONEY.solve(FLEET, 30, -1),
        lambda: MONEY.solve(FLEET, 30, amortization_years=0),
        lambda: MONEY.solve(FLEET, 30, infrastructure_multiplier=-1),
        lambda: MONEY.solve(FLEET, 30, cloud_usd_per_hour="API_GPT_4o"),
        lambda: PLACES.solve(FLEET, 30, []),
        lambda: PLACES.solve(FLEET, 30, objective="speed"),
        lambda: PLACES.solve(FLEET, 30, objective="latency"),
        lambda: PLACES.solve(FLEET, np.array([30, 60])),
    ],
)
def test_nonsense_gets_one_clear_line(ask):
    with pytest.raises(MLSysimError) as error:
        ask()
    assert "\n" not in str(error.value)
    assert len(str(error.value)) > 10
