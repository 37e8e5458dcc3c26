# What helps with little data, one factor at a time, on blood cells: a third of the epochs of their config.
page = 'docs/own_data.md'
about = 'Blood cells (BCCD) at 256 × 192 pixels, 18 epochs (468 steps of 8 pictures), AP on the 87 pictures of val.'
seeds = [0, 1, 2]
config = 'configs/custom/bccd_r18_c4_55e.py'
ema = [dict(type='NumClassCheckHook'), dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.004)]
runs = {
    'base: grid, one size': dict(config=config),
    'denoising': dict(config='configs/mix/dn_detr_bccd_r18_c4_55e.py'),
    'EMA': dict(config=config, options={'custom_hooks': ema}),
    'batches of 4': dict(config=config, options={'train_dataloader.batch_size': 4, 'optim_wrapper.optimizer.lr': 5e-4}),
    'learning rate 1.2e-3': dict(config=config, options={'optim_wrapper.optimizer.lr': 1.2e-3}),
    'no encoder layer': dict(
        config=config, options={'model.encoder.num_layers': 0, 'model.encoder.position_scale': False}
    ),
}
options = {'train_cfg.max_epochs': 18, 'train_cfg.val_interval': 6, 'param_scheduler.1.end': 18}
