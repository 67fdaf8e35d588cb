"""The gallery's pictures lie where its page looks for them."""

from urllib.parse import unquote

import torch

from invgraphics.camera import Camera
from invgraphics.commands.pictures import render_gallery_pictures
from invgraphics.geometry.mesh import Mesh, icosphere
from invgraphics.observation import Observation
from invgraphics.reconstruction import Reconstruction
from invgraphics.scene import Material, Scene, SceneObject
from renderers.protocol import BACKGROUND_ID, Rendered

HEIGHT, WIDTH = 48, 64


def test_pictures_are_found_whatever_the_image_is_called(tmp_path):
    camera = Camera(torch.tensor([[60.0, 0.0, 31.5], [0.0, 60.0, 23.5], [0.0, 0.0, 1.0]]), HEIGHT, WIDTH, torch.eye(4))
    image, mask = torch.full((HEIGHT, WIDTH), 0.5), torch.zeros(1, HEIGHT, WIDTH, dtype=torch.bool)
    mask[0, 10:30, 20:40] = True
    colour = image[..., None].expand(-1, -1, 3)
    observation = Observation(colour, image, image > 0, mask, camera, "made", ("ball",))
    ball = SceneObject("ball", torch.eye(4), torch.full((3,), 0.1), Material(torch.ones(3), torch.tensor(0.0), torch.tensor(0.5)))
    reconstruction = Reconstruction(Scene((ball,), (), None, camera), observation, (0,))
    ids = torch.full((HEIGHT, WIDTH), BACKGROUND_ID)
    rendered = Rendered(colour, image, ids, image[None], torch.zeros_like(colour))
    vertices, faces = icosphere(1)
    meshes = {0: Mesh(0.1 * vertices + torch.tensor([0.0, 0.0, 0.6]), faces)}
    pictures = render_gallery_pictures(reconstruction, rendered, [], meshes, tmp_path, "cup #1, 50% full?")[0]
    uris = [*(uri for _, uri in pictures.image), *pictures.predicted]
    assert len(uris) == 9
    assert all((tmp_path / unquote(uri)).is_file() and not set("#?") & set(uri) for uri in uris)
