"""The study's tables train what was measured: the first version of the method."""

from __future__ import annotations

import inspect

import pytest

from sapd_plugin.core import SGRLoss, SPDLoss
from sapd_plugin.core.fusion import FusionSettings
from sapd_plugin.core.settings import StepSettings
from sapd_plugin.core.spf import SPF
from sapd_plugin.experiments.catalogue import read_catalogue
from studies.sam_priors import build

CATALOGUE = read_catalogue(build.FOLDER / 'tables')
TABLES = [table for table in CATALOGUE.tables.values() if table.group in ('mini', 'explore')]
ARMS = sorted({name for table in TABLES for name in table.arms if CATALOGUE.arms[name].has_priors})


def test_all_tables_of_the_study_are_seen():
    assert {table.name for table in TABLES} >= {path.stem for path in build.FOLDER.glob('tables/mini_*.yml')}
    assert {'cascade', 'shuffled', 'people_masks', 'node_sgr'} <= {*ARMS}


@pytest.mark.parametrize('name', ARMS)
def test_an_arm_names_the_old_values(name):
    arm = CATALOGUE.arms[name]
    assert (arm.spf['fusion'], arm.spf['mask_dropout']) == ('image', 0)
    assert arm.spd['balance'] == 'none'
    assert arm.step == {'every': 1}
    assert arm.sgr is None or (arm.sgr['centre'], arm.sgr['every'], arm.sgr['balance']) == (False, 1, 'none')


@pytest.mark.parametrize('name', ARMS)
def test_its_blocks_are_arguments_of_the_method(name):
    arm = CATALOGUE.arms[name]
    fusion = inspect.signature(FusionSettings).parameters
    FusionSettings(**{key: value for key, value in arm.spf.items() if key in fusion})
    StepSettings(**arm.step)
    for kind, block in ((SPF, arm.spf), (SPDLoss, arm.spd), (SGRLoss, arm.sgr or {})):
        assert block.keys() <= inspect.signature(kind).parameters.keys()
