"""Names of the Meta-World and RoboDesk tasks, without importing either."""

METAWORLD = (
    'assembly', 'basketball', 'bin-picking', 'box-close', 'button-press',
    'button-press-topdown', 'button-press-topdown-wall', 'button-press-wall',
    'coffee-button', 'coffee-pull', 'coffee-push', 'dial-turn', 'disassemble',
    'door-close', 'door-lock', 'door-open', 'door-unlock', 'drawer-close',
    'drawer-open', 'faucet-close', 'faucet-open', 'hammer', 'hand-insert',
    'handle-press', 'handle-press-side', 'handle-pull', 'handle-pull-side',
    'lever-pull', 'peg-insert-side', 'peg-unplug-side', 'pick-out-of-hole',
    'pick-place', 'pick-place-wall', 'plate-slide', 'plate-slide-back',
    'plate-slide-back-side', 'plate-slide-side', 'push', 'push-back',
    'push-wall', 'reach', 'reach-wall', 'shelf-place', 'soccer', 'stick-pull',
    'stick-push', 'sweep', 'sweep-into', 'window-close', 'window-open')
ROBODESK = (
    'ball_in_bin', 'ball_in_shelf', 'ball_off_table', 'flat_block_in_bin',
    'flat_block_in_shelf', 'flat_block_off_table', 'lift_ball',
    'lift_flat_block', 'lift_upright_block', 'open_drawer', 'open_slide',
    'push_blue', 'push_green', 'push_red', 'stack', 'upright_block_in_bin',
    'upright_block_in_shelf', 'upright_block_off_table')
