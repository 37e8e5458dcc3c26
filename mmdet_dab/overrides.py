"""Values of a config that are set from outside, such as by ``--cfg-options KEY=VALUE``.

mmengine merges such a value into the config and looks no further: a variable of the config
(``max_epochs``) was used before that and changes nothing any more, and a misspelt key is added
without effect. Here neither can happen:

- a variable is set where the config assigns it, so that all that is computed from it follows;
- a key that would be new must be an argument of the class that ``type`` names in the same dict.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from mmdet_dab.errors import ConfigError, listed, nearest

#: The top-level keys that the Runner, mmdet's tools or ours read; all others are variables of the
#: config.
SECTIONS = frozenset(
    """
    activation_checkpointing auto_scale_lr cfg compile custom_hooks custom_imports data_preprocessor default_hooks
    default_scope env_cfg experiment_name find_unused_parameters launcher load_from log_level log_processor
    model model_wrapper_cfg optim_wrapper param_scheduler randomness resume runner_type strategy sync_bn
    test_cfg test_dataloader test_evaluator train_cfg train_dataloader tta_model tta_pipeline val_cfg
    val_dataloader val_evaluator vis_backends visualizer work_dir
    """.split()
)
#: What a dict of a config may always hold.
_ALWAYS = frozenset(
    # Taken by whoever builds: `priority` of hooks, `convert_to_iter_based` of schedules, `init_cfg`
    # of modules.
    ('type', '_scope_', '_delete_', '_reverse_', 'priority', 'convert_to_iter_based', 'init_cfg')
)
#: Sections whose class is not named by ``type``, or that hold more than its arguments.
_DATALOADER = 'dataset sampler batch_sampler collate_fn worker_init_fn num_batch_per_epoch'
_MORE: Mapping[str, frozenset[str]] = {
    **{f'{split}_dataloader': frozenset(_DATALOADER.split()) for split in ('train', 'val', 'test')},
    'optim_wrapper': frozenset(('constructor', 'paramwise_cfg')),
    'randomness': frozenset(('seed', 'deterministic', 'diff_rank_seed')),
    'auto_scale_lr': frozenset(('enable', 'base_batch_size')),
    'env_cfg': frozenset(('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit')),
}
#: The class of a section that names none.
_DEFAULT_TYPES = {'optim_wrapper': 'OptimWrapper', 'log_processor': 'LogProcessor'}


def parse_value(text: str) -> Any:
    """``'4'`` -> 4, ``'1e-4'``, ``'true'``, ``'None'``, ``'[a,b]'``, ``'(1,2)'``, ``'a,b'``, as
    mmengine reads them.
    """
    from mmengine.config import DictAction

    if any(sign in text for sign in '[(,'):
        return DictAction._parse_iterable(text)
    return DictAction._parse_int_float_bool(text.strip('\'"'))


def read_with_overrides(
    read: Callable[[], Any], path: str, options: Mapping[str, Any]
) -> tuple[Any, Callable[[], None]]:
    """Read a config and set ``options`` in it.

    Args:
        read: reads the config, as ``Config.fromfile(path)`` does.
        path: its file, for messages.
        options: dotted keys and their values. ``data_root`` moves every path of the config that
            lies in its data root.

    Returns:
        the config, and the part of the checks that needs mmdet to be imported: it raises a
        ConfigError for a key that the class beside it does not take.

    Raises:
        ConfigError: a key cannot be set; the message names the nearest keys.
    """
    cfg = read()
    variables = {key: value for key, value in options.items() if _is_variable(cfg, key)}
    if variables:
        cfg = _set_variables(read, cfg, path, variables)
    if 'data_root' in options:
        _move_data_root(cfg, path, str(options['data_root']))
    merged = {key: value for key, value in options.items() if key not in variables}
    before = cfg._cfg_dict.to_dict()
    for key in merged:
        _check_start(cfg, key, path)
    try:
        cfg.merge_from_dict(merged)
    except (AttributeError, KeyError, TypeError, IndexError, AssertionError) as error:
        raise ConfigError(f'--cfg-options does not fit config {path}: {error}') from error
    return cfg, lambda: _check_additions(before, cfg, merged, path)


# --- Variables


def _is_variable(cfg: Any, key: str) -> bool:
    root = key.split('.')[0]
    return root in cfg and root not in SECTIONS and key != 'data_root'


def _set_variables(read: Callable[[], Any], cfg: Any, path: str, variables: Mapping[str, Any]) -> Any:
    """Read the config again with other values for its variables.

    Refuse a variable that nothing is computed from.
    """
    with _assigned(variables):
        changed = read()
    # The variables themselves, where the config is not a Python file
    changed.merge_from_dict(dict(variables))
    roots = {key.split('.')[0] for key in variables}

    def rest(config: Any) -> dict[str, Any]:
        return {key: value for key, value in config._cfg_dict.to_dict().items() if key not in roots}

    if rest(cfg) == rest(changed) and any(_value(cfg, key) != value for key, value in variables.items()):
        key = next(iter(variables))
        raise ConfigError(
            f'--cfg-options {key}: nothing in config {path} is computed from the variable {key.split(".")[0]}. '
            f'{_did_you_mean(cfg, key, roots)}'
        )
    return changed


@contextlib.contextmanager
def _assigned(variables: Mapping[str, Any]) -> Iterator[None]:
    """While this is open, mmengine reads a config with other values for its variables.

    They are set after each assignment to them, in every file of the config. mmengine copies a file
    to a temporary one before it reads it, and that copy is what is changed.
    """
    from mmengine.config import Config

    copy = Config._substitute_predefined_vars

    def copy_and_assign(filename: str, temp_config_name: str) -> None:
        copy(filename, temp_config_name)
        if filename.endswith('.py'):
            file = Path(temp_config_name)
            file.write_text(_with_assignments(file.read_text(encoding='utf-8'), variables), encoding='utf-8')

    Config._substitute_predefined_vars = staticmethod(copy_and_assign)
    try:
        yield
    finally:
        Config._substitute_predefined_vars = staticmethod(copy)


def _with_assignments(source: str, variables: Mapping[str, Any]) -> str:
    """The text of a config with a line ``name = value`` after each statement at its top level that
    assigns ``name``.
    """
    try:
        statements = ast.parse(source).body
    except SyntaxError:  # mmengine says so with the name of the file
        return source
    lines = source.splitlines()
    for statement in reversed(statements):
        if not isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
            continue
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        names = {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}
        for key, value in variables.items():
            name, *rest = key.split('.')
            if name in names:
                keys = ''.join(f'[{part}]' if part.isdigit() else f'[{part!r}]' for part in rest)
                lines.insert(statement.end_lineno or len(lines), f'{name}{keys} = {value!r}')
    return '\n'.join(lines) + '\n'


def _move_data_root(cfg: Any, path: str, new_root: str) -> None:
    """Every string that lies in the config's data root gets the new one.

    Also in a config that was written flat.
    """
    old_root = cfg.get('data_root')
    if not old_root:
        raise ConfigError(
            f'config {path} has no top-level data_root that --cfg-options could replace: '
            'set the one of each dataset, e.g. train_dataloader.dataset.data_root=DIR'
        )
    old, new = old_root.rstrip('/'), new_root.rstrip('/')

    def moved(value: Any) -> Any:
        if isinstance(value, str) and (value == old or value.startswith(f'{old}/')):
            return new + value[len(old) :]
        if isinstance(value, dict):
            for key in value:
                value[key] = moved(value[key])
        elif isinstance(value, (list, tuple)):
            return type(value)(moved(item) for item in value)
        return value

    for key in cfg:
        cfg[key] = moved(cfg[key])


# --- Keys


def walk(node: Any, key: str = '') -> Iterator[tuple[str, dict[str, Any]]]:
    """All dicts in a part of a config with their dotted keys, outermost first."""
    children: Any = ()
    if isinstance(node, dict):
        yield key, node
        children = node.items()
    elif isinstance(node, (list, tuple)):
        children = enumerate(node)
    for name, child in children:
        yield from walk(child, f'{key}.{name}' if key else str(name))


def _value(cfg: Any, key: str) -> Any:
    """The value of a dotted key, None where there is none."""
    node = cfg
    for part in key.split('.'):
        try:
            node = node[int(part)] if isinstance(node, (list, tuple)) else node[part]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return node


def _did_you_mean(cfg: Any, key: str, without: set[str] | frozenset[str] = frozenset()) -> str:
    """Name the three keys that ``key`` was most likely meant to be: those that end alike first."""
    dicts = [(path, node) for path, node in walk(dict(cfg.items())) if path.split('.')[0] not in without]
    keys = [f'{path}.{name}' if path else str(name) for path, node in dicts for name in node]
    keys = [known for known in dict.fromkeys([*keys, *SECTIONS]) if known not in without and known != key]
    last = key.split('.')[-1]
    # What all of training reads comes before what is deeper, or of one split only.
    same_end = sorted((known for known in keys if known.split('.')[-1] == last), key=lambda known: known.count('.'))
    found = list(dict.fromkeys([*same_end, *nearest(key, keys)]))[:3]
    return f'Did you mean {listed(found)}?' if found else 'The config prints with `mmdet-dab describe --config`.'


def _check_start(cfg: Any, key: str, path: str) -> None:
    """Refuse a key whose first part nobody reads, and an index beyond its list."""
    parts = key.split('.')
    if parts[0] not in cfg and parts[0] not in SECTIONS and key != 'data_root':
        raise ConfigError(f"--cfg-options {key}: config {path} has no '{parts[0]}'. {_did_you_mean(cfg, key)}")
    node = cfg
    for number, part in enumerate(parts):
        if isinstance(node, (list, tuple)):
            here = '.'.join(parts[:number])
            if not part.isdigit() or int(part) >= len(node):
                raise ConfigError(
                    f'--cfg-options {key}: {here} is a list of {len(node)} in config {path}: '
                    f'name one of its places, {here}.0 to {here}.{len(node) - 1}'
                )
            node = node[int(part)]
        elif isinstance(node, dict) or number == 0:
            node = node.get(part)
        else:
            return


def _check_additions(before: dict[str, Any], cfg: Any, options: Mapping[str, Any], path: str) -> None:
    """Refuse new keys that the class beside them does not take.

    A dict without a class may hold any.
    """
    for key in options:
        parts = key.split('.')
        node: Any = before
        for number, part in enumerate(parts):
            if isinstance(node, (list, tuple)):
                node = node[int(part)]
                continue
            if not isinstance(node, dict):
                break
            if part not in node:
                _check_addition(cfg, parts, number, path)
                break
            node = node[part]


def _check_addition(cfg: Any, parts: list[str], number: int, path: str) -> None:
    """Refuse the key ``parts[number]``, which is new in the dict at ``parts[:number]``."""
    if number == 0 or any(part.endswith('_cfg') and part not in ('train_cfg', 'val_cfg') for part in parts[:number]):
        return  # `norm_cfg` and its like are read by functions that take more than the class does
    section, new = '.'.join(parts[:number]), parts[number]
    node = _value(cfg, section)
    known, takes_any = accepted(section, node, new)
    if new in known:
        return
    close = nearest(new, sorted(known))
    if takes_any and not any(_is_typo(new, name) for name in close):
        return
    key = '.'.join(parts)
    if close:
        hint = f'Did you mean {listed(f"{section}.{name}" for name in close)}?'
    else:
        hint = f'It takes {listed(sorted(known), 20)}.'
    owner = f' ({node["type"]})' if 'type' in node else ''
    raise ConfigError(f"--cfg-options {key}: {section}{owner} of config {path} has no '{new}'. {hint}")


def _is_typo(new: str, name: str) -> bool:
    """Whether a name is so near to another that it was hardly meant as a second one."""
    return SequenceMatcher(None, new, name).ratio() > 0.85


def accepted(section: str, node: Mapping[str, Any], new: str) -> tuple[frozenset[str], bool]:
    """The keys that a dict of a config may hold, and whether any others may be right as well.

    Args:
        section: its dotted key.
        node: the dict, with the ``type`` that it is built from.
        new: the key in question.
    """
    if section in _MORE and section.endswith('_dataloader'):
        from torch.utils.data import DataLoader

        names, takes_any = _arguments_of(DataLoader)
    elif 'type' in node or section in _DEFAULT_TYPES:
        names, takes_any = _arguments(node.get('type', _DEFAULT_TYPES.get(section)))
    elif section in _MORE:
        names, takes_any = set(), False
    else:
        return frozenset(node) - {new}, not _lacks_its_type(node, new)
    return frozenset(names) | _ALWAYS | _MORE.get(section, frozenset()), takes_any


def _lacks_its_type(node: Mapping[str, Any], new: str) -> bool:
    """Whether the new entry cannot be built although all others are, as in ``default_hooks``."""
    others = [child for name, child in node.items() if name != new]
    built = [isinstance(child, dict) and 'type' in child for child in others if child is not None]
    return isinstance(node.get(new), dict) and 'type' not in node[new] and bool(built) and all(built)


def _arguments(kind: Any) -> tuple[set[str], bool]:
    """The arguments of all classes of a name, and whether any others may be right as well."""
    found = [_arguments_of(one) for one in ([kind] if inspect.isclass(kind) else _classes(str(kind)))]
    names: set[str] = set().union(*(arguments for arguments, _ in found))
    return names, not found or any(takes_any for _, takes_any in found)


def _arguments_of(found: Any) -> tuple[set[str], bool]:
    """The arguments of a class, and whether it takes any others as well.

    Those of its bases count as long as ``**kwargs`` hands them on.
    """
    names: set[str] = set()
    if not inspect.isclass(found):
        return names, True
    for base in found.__mro__[:-1]:
        if '__init__' not in vars(base):
            continue
        try:
            parameters = list(inspect.signature(vars(base)['__init__']).parameters.values())[1:]
        except (TypeError, ValueError):
            return names, True
        names |= {found.name for found in parameters if found.kind not in (found.VAR_POSITIONAL, found.VAR_KEYWORD)}
        if not any(found.kind is found.VAR_KEYWORD for found in parameters):
            return names, False
    return names, True


def _classes(kind: str) -> list[Any]:
    """All classes that ``type='kind'`` can name, in whichever registry."""
    import mmdet.registry  # noqa: F401  (its registries are children of mmengine's)
    from mmengine.registry import Registry, root

    found = []
    for registry in vars(root).values():
        if isinstance(registry, Registry):
            child = registry.children.get('mmdet', registry)
            try:
                found.append(child.get(kind))
            except Exception:  # a registry that does not know the name says so in many ways
                continue
    return [one for one in dict.fromkeys(found) if one is not None]
