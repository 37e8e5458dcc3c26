# 12 epochs, learning rate × 0.1 after 11, to compare models in a quarter of the time.
_base_ = 'schedule_50e.py'
max_epochs = 12
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=max_epochs, by_epoch=True, milestones=[11], gamma=0.1),
]
