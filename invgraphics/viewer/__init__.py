"""A page in the browser that shows a scene, how sure it is, grasps, and a robot's motion; boxes drawn on it start a reconstruction.

`ViewerPage` draws (`layers`), its panels (`grasp_panel`, `motion_panel`, `box_panel`) hold the controls. What knows hands, robots and
optimizers hands in plain data: `invgraphics.commands.view`. The page is served by viser: `pip install 'invgraphics[view]'`.
"""
