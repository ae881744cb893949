"""A rehearsed network stays as it is, and a wrong choice of the student's image is named."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from sapd_plugin.archs.hinet import HINet
from sapd_plugin.archs.mimo_unet import MIMOUNet
from sapd_plugin.archs.mprnet import MPRNet
from sapd_plugin.core import SPF, build_branch, check_image
from sapd_plugin.core.rehearsal import rehearse, rehearse_sizes, student_input
from sapd_plugin.errors import SAPDError
from tests.networks import DropoutNet, ScalesNet, assert_equal_states

STUDENTS = {
    'ScalesNet': ScalesNet,
    'HINet': lambda: HINet(wf=4, depth=3, hin_position_left=0, hin_position_right=2),
    'MPRNet': lambda: MPRNet(n_feat=8, scale_unetfeats=4, scale_orsnetfeats=4, num_cab=1),
    'MIMOUNet': lambda: MIMOUNet(num_res=1, base_channel=4),
}


def test_a_rehearsal_changes_nothing():
    network = DropoutNet().eval()
    network.body[1].train()
    image = torch.rand(2, 3, 16, 16)
    before, state = copy.deepcopy(network), torch.get_rng_state()
    output, shapes = rehearse_sizes(network, image)
    assert output.shape == image.shape
    assert not output.requires_grad
    assert shapes['body.0'] == (2, 8, 16, 16)
    assert_equal_states(network, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in network.modules()] == [module.training for module in before.modules()]
    assert not any(module._forward_hooks for module in network.modules())
    with pytest.raises(RuntimeError):
        rehearse(network, torch.rand(2, 5, 16, 16))
    assert [module.training for module in network.modules()] == [module.training for module in before.modules()]


@pytest.mark.parametrize('name', STUDENTS)
def test_an_image_that_cannot_be_distilled_is_refused(name):
    student = STUDENTS[name]()
    outputs = rehearse(student, torch.rand(2, 3, 64, 64))
    for index, image in enumerate(outputs):
        for choice in (index, index - len(outputs)):
            if image.shape[2:] == (64, 64):
                check_image(student, 'network_g', 3, choice, 1)
            else:
                with pytest.raises(
                    SAPDError, match=rf'output_index: found {choice}, an image of .* ground truth has 64x64'
                ):
                    check_image(student, 'network_g', 3, choice)
    check_image(student, 'network_g', 3)
    for index in (len(outputs), -len(outputs) - 1):
        with pytest.raises(
            SAPDError, match=f'output_index: found {index}, but network_g returns {len(outputs)} images'
        ):
            check_image(student, 'network_g', 3, index)
    student.output_index = None
    with pytest.raises(SAPDError, match='network_g: returns list.* set output_index'):
        check_image(student, 'network_g', 3)


class Pyramid(nn.Module):
    """Returns images of twice, four and eight times the size."""

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        return [nn.functional.interpolate(image, scale_factor=factor) for factor in (2, 4, 8)]


def test_the_right_size_is_the_scale_s():
    check_image(Pyramid(), 'network_g', 3, 1, scale=4)
    check_image(Pyramid(), 'network_g', 3, 2)
    with pytest.raises(
        SAPDError, match=r'found 2, an image of 128x128 where the ground truth has 64x64.*of 32x32, 64x'
    ):
        check_image(Pyramid(), 'network_g', 3, 2, scale=4)


@pytest.mark.parametrize(('scale', 'side'), [(None, 64), (1, 64), (2, 32), (3, 16), (4, 16), (8, 16)])
def test_the_student_s_input_makes_about_64_pixels(scale, side):
    assert student_input(Pyramid(), 3, scale).shape == (2, 3, side, side)


def test_a_student_that_takes_more_than_an_image_is_left_to_its_training_step():
    class Conditioned(nn.Module):
        def forward(self, image: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
            return image * level

    check_image(Conditioned(), 'network_g', 3, 7)


def test_the_branch_s_image_is_checked_in_training_mode_as_well():
    for index, message in (
        (2, 'found 2, but network returns 2 images'),
        (0, r'network: turns .* into \(2, 3, 32, 32\)'),
    ):
        network = ScalesNet()
        with pytest.raises(SAPDError, match=message):
            build_branch('network_spf', lambda block: SPF(network, output_index=index), {}, image_channels=3)  # noqa: B023
    network = DropoutNet()
    before = copy.deepcopy(network)
    branch = build_branch('network_spf', lambda block: SPF(network), {}, image_channels=3)
    assert_equal_states(branch.network, before)
