# All Python that the rules need: the studies (checked before the DAG is built), where things lie, what triggers a run.
# The package answers every question of substance (fne.study.api, fne.study.paths); nothing here imports torch.
import functools
import re
import shlex
import signal
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path

from snakemake.exceptions import WorkflowError

import fne
from fne.utils.errors import UserError, bad_input
from fne.utils.lease import enough_devices
from fne.utils.ranks import check_share

try:
    import fne.study.plugins  # reads what every rule says of itself
except UserError as error:
    raise WorkflowError(str(error)) from None

from fne.data.sources import annotation_files
from fne.encoders.checkpoints import find
from fne.utils.digests import FOLDER
from fne.utils.files import expanded, write_text
from fne.study import paths
from fne.results.calibration_tables import calibration_files
from fne.results.current import outdated, set_aside
from fne.results.schema import digests_file, written_by
from fne.study.api import Series, arguments, blocks, evaluation_digest, resolve, training_digest
from fne.steps.place import check_installed, check_requests
from fne.steps.progress_line import install
from fne.steps.snakemake import from_snakemake, shard_of
from fne.results.code import EXTRACT, PREPARE, PRETRAIN, Code, ResultCode
from fne.results.kept import keep, open_any, tell_left_out
from fne.data.published import FILE as PUBLISHED
from fne.results.variance import FILE as VARIANCE
from fne.report.figures.names import FIGURES
from fne.report.tables.names import TABLES
from fne.report.series import names as series_files
from fne.results import reference
from fne.results.elsewhere import variance_for

STARTED = time.time()
# A scheduler's word that the time limit is near reaches every process of a job and ends those that do not expect it. It
# is for training alone, which saves a checkpoint.
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
DEVICES = ("auto", "cpu", "cuda")
JOBS = ("run", "stages")
OPTIONS = ["device", "job", "processes", "nodes", "loaders", "extract_jobs", "shard", "replace"]
TRAINED = paths.TRAINED
TABLE_KINDS = ("html", "csv", "md", "tex")
PREPARED = ("manifest.json", "manifest.parquet")
MADE_OF_A_RUN = ("rankings.test.npz", "metrics.test.json", "queries.test.npz", "calibration.npz")
AGGREGATED = (*written_by("aggregate"), "protocols.json", digests_file("aggregate"))
AUDITED = (*written_by("audit"), digests_file("audit"))
COMPARED = ("intervals.csv", "contrasts.csv", digests_file("compare"))
VERIFIED = (*written_by("verify"), "verify.json", digests_file("verify"))
TRAINED_TABLES = ("curves.parquet", "audit.parquet")
# A job finds the `fne` of the interpreter that runs Snakemake, whether or not its environment is activated, and keeps
# matplotlib's cache out of the home folder. `logged LOG COMMAND` runs a command; the log of an attempt that failed, or was
# killed, stays beside it as LOG.1, LOG.2, ... Where a job's files lie below another root than the project (copies that a
# storage provider made), `ablations` is linked there. A scheduler's signals reach a whole process group: the shell waits
# for what the command makes of them. All this belongs to no rule: a change of it runs nothing again.
shell.prefix(
    f"set -euo pipefail; trap '' USR1; trap : TERM; {install(workflow)}export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; "
    "export MPLCONFIGDIR=${{MPLCONFIGDIR:-${{TMPDIR:-/tmp}}/fne-matplotlib-$(id -u)}}; "
    'logged() {{ local log=$1 number=1 status=0 root; shift; mkdir -p "$(dirname "$log")"; : > "$log"; '
    'while [ -e "$log.$number" ]; do number=$((number + 1)); done; ln "$log" "$log.$number" 2> /dev/null || true; '
    'for root in "$@"; do case $root in --root=*) ln -sfn "$PWD/ablations" "${{root#*=}}/ablations" ;; esac; done; '
    '"$@" > "$log" 2>&1 || status=$?; if [ $status = 0 ]; then rm -f "$log.$number"; '
    'else [ -e "$log.$number" ] || cp "$log" "$log.$number"; cat "$log" >&2; fi; return $status; }}; '
)


def require_the_folder_here():
    """A job on another machine must see the folder that Snakemake was started in, unless a storage provider has it."""
    running = Path(".fne/running")
    if workflow.is_main_process:
        running.parent.mkdir(exist_ok=True)
        running.touch()
    elif not (workflow.is_main_process or running.is_file() or workflow.storage_settings.default_storage_provider):
        raise WorkflowError(
            f"{Path.cwd()} on {socket.gethostname()} is not the folder that Snakemake was started in: its file system is "
            "not shared with this machine; start in a folder that all machines see, or give --default-storage-provider"
        )


def load_studies():
    """The study or series that `--config` requests, and `smoke`, whose target always exists.

    Every merged variant is checked here, before the DAG: all problems at once, as one message without a traceback.
    """
    try:
        check_installed(Path(workflow.basedir))
        name, overrides = from_snakemake(config, extra=OPTIONS)
        if REPLACE is None:
            raise UserError(f"--config: replace: got {config['replace']!r}; allowed: true, false")
        tell = workflow.is_main_process
        requested = open_any(name, overrides, Path("."), replace=REPLACE, tell=tell)
        series = {requested.name: requested} if isinstance(requested, Series) else {}
        members = requested.members if series else (requested,)
        for member in members:
            shard_of(member.variants, SHARD)
            paths.check_supplied(member)
            for modality in paths.MODALITIES:  # digests of what the user supplies are known before the DAG is built
                paths.features_folder(member, modality)
        studies = {member.name: member for member in members}
        if "smoke" not in studies:
            studies["smoke"] = open_any("smoke", {}, Path("."), tell=tell)
        for study in studies.values():
            # one that is damaged is an error now, not after hours of training
            reference.find(study, Path("."))
            ELSEWHERE[study.name] = variance_for(study, Path("."))
        for key, value, allowed in (("device", DEVICE, DEVICES), ("job", JOB, JOBS)):
            if value not in allowed:
                raise UserError(f"--config: {key}: got {value!r}; allowed: {', '.join(allowed)}")
        for key, value in (
            ("processes", PROCESSES),
            ("nodes", NODES),
            ("loaders", LOADERS),
            ("extract_jobs", EXTRACT_JOBS),
        ):
            if type(value) is not int or value < 1:
                raise UserError(f"--config: {key}: got {value!r}; allowed: an integer >= 1")
        if PROCESSES * NODES > 1:
            if members[0].regime == "head":
                raise UserError("--config: processes: heads on frozen features train in one process; got regime 'head'")
            for member in members:
                for variant in member.variants:
                    check_share(resolve(member, variant)["train"]["batch_size"], PROCESSES * NODES)
    except UserError as error:
        raise WorkflowError(str(error)) from None
    if workflow.is_main_process:
        for note in requested.notes:
            print(f"note: study {requested.name}: {note}", file=sys.stderr)
        for member in members:
            tell_left_out(member, Path("."))
            if runs_of_other_code := outdated(member, Path("."), CODE):
                print(
                    f"note: study {member.name}: other code than the present trained {len(runs_of_other_code)} runs "
                    f"({', '.join(runs_of_other_code[:3])}{', ...' if runs_of_other_code[3:] else ''}); they will be "
                    "trained again",
                    file=sys.stderr,
                )
    return requested.name, studies, series


# Of each study the components of variance that hold for it, or why there are none.
ELSEWHERE = {}
DEVICE = config.get("device", "auto")
# How a run is made: by one rule, which imports and loads once (`run`), or by train, rank, evaluate and calibrate (`stages`).
JOB = config.get("job", "run")
# Which of several calls that share the study this is, as `2/4`: it makes the runs of every fourth variant, and no report.
SHARD = config.get("shard")
ON_GPU = {"gpu": 1} if DEVICE == "cuda" else {}
# In the regime `finetune`: processes that train one model together, on each of so many nodes, and threads of each (on a
# GPU: image loaders).
PROCESSES, NODES, LOADERS = config.get("processes", 1), config.get("nodes", 1), config.get("loaders", 1)
# Jobs among which the extraction of a feature store is divided.
EXTRACT_JOBS = config.get("extract_jobs", 1)
CODE, RESULT_CODE = Code(Path(".")), ResultCode(Path("."))
# Does the study go by `--config` alone, whatever its results were made with?
REPLACE = {"true": True, "false": False}.get(str(config.get("replace", False)).lower())
require_the_folder_here()
STUDY, STUDIES, SERIES = load_studies()
BY_DATA = {paths.data_id(study): study for study in reversed(STUDIES.values())}
BY_FEATURES = {
    (paths.data_id(study), modality, paths.encoder_slug(study, modality)): study
    for study in reversed(STUDIES.values())
    for modality in paths.MODALITIES
}
# Encoders whose stores hold tokens.
TOKENS = sorted({slug for (_, modality, slug), study in BY_FEATURES.items() if paths.holds_tokens(study, modality)})
BY_PAIR = {
    paths.recipe(study).slug: study
    for study in STUDIES.values()
    if any(paths.is_pretrained_here(study, modality) for modality in paths.MODALITIES)
}


wildcard_constraints:
    study="|".join(map(re.escape, STUDIES)),
    series="|".join(map(re.escape, SERIES)) or "(?!)",
    variant="[a-z0-9_.+-]+",
    block="[0-9_-]+",
    split="|".join(paths.SPLITS),
    data="|".join(BY_DATA),
    modality="|".join(paths.MODALITIES),
    encoder=r"[A-Za-z0-9_.-]+-[0-9a-f]{8}",
    pair="|".join(BY_PAIR) or "(?!)",
    part=r"\d+",
    parts=r"\d+",


def of_kind(is_one):
    """A pattern of the data whose section is of a kind."""
    return "|".join(name for name, study in BY_DATA.items() if is_one(study.data)) or "(?!)"


def of_data(wildcards):
    """The study whose data a rule of workflow/rules/{data,features}.smk is about."""
    return BY_DATA[wildcards.data]


def of_features(wildcards):
    """The study whose features a job extracts."""
    return BY_FEATURES[wildcards.data, wildcards.modality, wildcards.encoder]


def of_study(wildcards):
    return STUDIES[wildcards.study]


def of_series(wildcards):
    return SERIES[wildcards.series]


def words_of(study, output, place):
    """The CLI's arguments for a study, all of them, so that a job reads and writes nothing that was kept beside results.

    The root is named where a storage provider keeps copies below one of its own; `place` is where `output` begins there.
    """
    root, here, _ = str(output[0]).rpartition(f"{place}/")
    return (f"--root={shlex.quote(root.rstrip('/'))} " if root else "") + f"{arguments(study)} --exactly"


def in_folder(name, output):
    """The folder of a study or series that a job's outputs lie in."""
    return next(place for top in ("results", "reports") if f"{(place := f'{top}/{name}')}/" in str(output[0]))


# Functions of `output` are no triggers: what counts is said by the digests.
def data_arguments(wildcards, output):
    return words_of(of_data(wildcards), output, f"resources/{wildcards.data}")


def features_arguments(wildcards, output):
    return words_of(of_features(wildcards), output, f"resources/{wildcards.data}")


def pair_arguments(wildcards, output):
    return words_of(BY_PAIR[wildcards.pair], output, f"resources/encoders/{wildcards.pair}")


def study_arguments(wildcards, output):
    return words_of(of_study(wildcards), output, in_folder(wildcards.study, output))


def series_arguments(wildcards, output):
    return words_of(of_series(wildcards), output, in_folder(wildcards.series, output))


def notebook_study(wildcards, output):
    """The same for ``FNE_STUDY``, which tells a notebook."""
    return arguments(of_study(wildcards)).removeprefix("--study ")


def not_made(*files):
    """Inputs that no rule makes: they lie where they are, also where a storage provider holds all that rules make."""
    return [local(str(file)) for file in files]


def corpus_files(wildcards):
    """What `prepare` reads besides the pictures: nothing for `scenes`, the user's files for a corpus."""
    data = of_data(wildcards).data
    annotations = annotation_files(data["annotations"]) if data.get("annotations") else []
    return not_made(*annotations, *(file for file in data.get("judgements", {}).values() if file))


def encoder_files(study, modality):
    """The checkpoint's folder where the workflow itself makes it, or files of the user's; what is shipped is no input."""
    if paths.is_pretrained_here(study, modality):
        return [paths.encoder_folder(study, modality)]
    files = not_made(*paths.encoder_files(study, modality))
    return [*map(ancient, files)]  # the name of the store holds their digests


def encoded_files(wildcards):
    """What extraction reads beside the rows of the data."""
    return read_by_encoder(of_features(wildcards), wildcards.modality)


def read_by_encoder(study, modality):
    """The encoder, images, and where there is one the world, whose scenes no encoder may have seen."""
    world = [paths.data_folder(study) / f"scenes.{split}.npz" for split in paths.SPLITS]
    return [
        *encoder_files(study, modality),
        *(images_of(study) if modality == "image" else []),
        *(world if study.data["dataset"] == "scenes" else []),
    ]


def images_of(study):
    """The folder of images, which `prepare` makes or the user has; of those that the user has, what was verified too."""
    if images := study.data.get("images"):  # of them the manifest holds a digest
        return [*map(ancient, not_made(expanded(images))), paths.data_folder(study) / "pictures.npz"]
    return [paths.data_folder(study) / "images"]


def prepared_rows(wildcards):
    """What lists the images and captions of the data."""
    return [paths.data_folder(of_data(wildcards)) / file for file in PREPARED]


def parts_of(wildcards):
    """The parts of a store that several jobs extract; of one that is there already those that it was made of.

    A note of their number keeps `--config extract_jobs=...` from making a store again, which would be the same.
    """
    name = f"{wildcards.data}/features/{wildcards.modality}-{wildcards.encoder}"
    note, is_there = FOLDER / "extract_jobs" / name, Path(f"resources/{name}/manifest.json").is_file()
    if workflow.is_main_process and not is_there:
        write_text(note, str(EXTRACT_JOBS))
    parts = int(note.read_text()) if note.is_file() else 1 if is_there else EXTRACT_JOBS
    return [f"resources/{name}.parts/{part}-of-{parts}" for part in range(1, parts + 1)] if parts > 1 else []


def extracting_threads(wildcards):
    """One where the tiny encoders of `scenes` read it, both modalities side by side; joining parts needs no more."""
    is_small = "grid" in paths.encoder(of_features(wildcards), wildcards.modality)
    joins = not hasattr(wildcards, "part") and parts_of(wildcards)
    return 1 if is_small or joins else 8


def inputs_of(modality):
    """Input function: what training reads of a modality beside the data: a feature store, or what makes one."""

    def files(wildcards):
        study = of_study(wildcards)
        return paths.features_files(study, modality) if study.regime == "head" else read_by_encoder(study, modality)

    return files


def truths(*splits):
    """Input function: what is known to be relevant. Training sees none of the test split."""
    return lambda wildcards: [paths.truth(of_study(wildcards), split) for split in splits or [wildcards.split]]


def prepared(wildcards):
    return [paths.data_folder(of_study(wildcards)) / file for file in PREPARED]


def trains_whole_encoders(wildcards):
    return of_study(wildcards).regime == "finetune"


def trainer(wildcards):
    """What starts a training job: of several nodes, once on each of those that Slurm gave it."""
    on_nodes = trains_whole_encoders(wildcards) and NODES > 1
    return f"srun --nodes {NODES} --ntasks {NODES} --ntasks-per-node 1 --overlap fne" if on_nodes else "fne"


def together(wildcards):
    """Options of a training job: the processes that train one model, on how many nodes."""
    whole = trains_whole_encoders(wildcards) and PROCESSES * NODES > 1
    return f" --processes {PROCESSES} --nodes {NODES}" if whole else ""


@functools.cache
def digests_of(study, variant):
    """Of a variant: what training reads, the code that trains it, and what evaluation alone reads."""
    config = resolve(STUDIES[study], variant)
    return training_digest(config), CODE.training(config), evaluation_digest(config)


def trainer_gpus(wildcards):
    return PROCESSES if trains_whole_encoders(wildcards) else 1


def trained_config(wildcards):
    """Digest of what training reads: a changed value re-trains the variants that inherit it, a comment none."""
    return digests_of(wildcards.study, wildcards.variant)[0]


def training_code(wildcards):
    """Digest of the code that trains a variant: an edit of it re-trains the variants that use it, a comment none."""
    return digests_of(wildcards.study, wildcards.variant)[1]


def evaluated_config(wildcards):
    """Digest of what evaluation alone reads."""
    return digests_of(wildcards.study, wildcards.variant)[2]


def encoders_read(wildcards):
    """The encoders, by content, where a run trains them itself."""
    study = of_study(wildcards)
    return [paths.encoder_slug(study, modality) for modality in paths.MODALITIES] if study.regime == "finetune" else []


def preparing_code(wildcards):
    """Digest of the code that draws the scenes, or reads a corpus."""
    return CODE.of(PREPARE["scenes" if of_data(wildcards).data["dataset"] == "scenes" else "corpus"])


def extracting_code(wildcards):
    """Digest of the code that extracts features: what all encoders share, and the family of this one."""
    study, modality = of_features(wildcards), wildcards.modality
    if paths.is_pretrained_here(study, modality):
        return CODE.of(EXTRACT)
    return CODE.of([*EXTRACT, find(paths.encoder(study, modality), modality).family.target()])


def relevance_files(wildcards):
    """Relevance files that the study gives: ranks of the pairs they list are counted on the test split."""
    files = paths.relevance_files(of_study(wildcards)) if getattr(wildcards, "split", "test") == "test" else []
    return not_made(*files)


def runs(wildcards, pattern):
    """A file of every job of a study."""
    return runs_of(of_study(wildcards), pattern)


def runs_of(study, pattern):
    jobs = [(variant, block) for variant in study.variants for block in blocks(study)]
    return [str(paths.run_folder(study, *job) / pattern) for job in jobs]


def of_runs(*names):
    """Input function: these files of every job of a study."""
    return lambda wildcards: [file for name in names for file in runs(wildcards, name)]


def calibrations(wildcards):
    """Of the jobs whose variant estimates false negatives; the rule `run` makes one of every job, and must then be there."""
    if JOB == "run":
        return runs(wildcards, "calibration.npz")
    return [str(file) for file in calibration_files(of_study(wildcards))]


def readings(wildcards):
    """The log of each reading of the test split."""
    calibrated = [str(Path(file).with_name("readings.calibrate.jsonl")) for file in calibrations(wildcards)]
    return [*runs(wildcards, "readings.test.jsonl"), *calibrated]


def judged_files(wildcards):
    """What an audit of annotated pairs reads besides."""
    return [*runs(wildcards, "rankings.test.npz"), *truths("test")(wildcards)] if is_judged(of_study(wildcards)) else []


def growing(file):
    """A log that survives when its job runs again; not where a storage provider holds it, which keeps one version."""
    return file if workflow.storage_settings.default_storage_provider else update(file)


def is_judged(study):
    """Did people annotate pairs of the test split, so that what a model ranks highest there can be scored?"""
    return any(study.data.get("judgements", {}).values()) or bool(paths.ratings_files(study))


def ratings_files(wildcards):
    """Ratings of pairs that the study gives: estimates are calibrated and scored on them."""
    return not_made(*paths.ratings_files(of_study(wildcards)))


def rating_of_a_match(wildcards):
    """From which rating on a pair is a match, where a study gives ratings; no digest holds it."""
    study = of_study(wildcards)
    given = paths.ratings_files(study)
    return resolve(study, study.variants[0])["audit"]["sits_match"] if given else None


def tuned_files(wildcards):
    """The tuned values, and the trials where they are kept, which tables, figures and record report."""
    study = of_study(wildcards)
    return not_made(*(file for file in paths.tuned_files(study) if file.is_file()))


def published_file(wildcards):
    """The published results, where a study is set against some of them."""
    return not_made(PUBLISHED) if of_study(wildcards).published else []


def verified(wildcards):
    """How the study compares with its reference, where one of its variants is recorded."""
    study = of_study(wildcards)
    has_one = reference.find(study, Path(".")) is not None
    return [str(paths.results_folder(study) / file) for file in VERIFIED] if has_one else []


def variance_file(wildcards):
    """The recorded components of variance, where they hold for a study."""
    return not_made(VARIANCE) if ELSEWHERE[wildcards.study][0] else []


def why_no_variance(wildcards):
    """Why none hold for it."""
    return ELSEWHERE[wildcards.study][1]


def set_against(wildcards):
    """Which published results a study is set against, and how."""
    against = of_study(wildcards).published
    return against.declared() if against else None


def question(wildcards):
    """The question of a study, in words and by names: its titles are in the tables."""
    return title_and_question_of(of_study(wildcards))


def title_and_question_of(study):
    variants = [(name, study.library[name].title, study.library[name].question) for name in study.variants]
    return [study.title, study.question, study.baseline, sorted(study.primary.items()), variants]


def question_of_series(wildcards):
    """The question of a series, and its points."""
    series = of_series(wildcards)
    return [
        series.title,
        series.question,
        [list(point.items()) for point in series.points],
        title_and_question_of(series.shared),
    ]


def drawn(kind, name):
    """The tables or figures of a study, or of a series."""
    tables, figures = TABLES, FIGURES
    if name in SERIES:
        tables, figures = series_files.tables(SERIES[name]), series_files.figures(SERIES[name])
    if kind == "tables":
        return [f"reports/{name}/tables/{table}.{suffix}" for table in tables for suffix in TABLE_KINDS]
    images = [f"reports/{name}/figures/{figure}.{suffix}" for figure in figures for suffix in ("svg", "png")]
    return [*images, f"reports/{name}/figures/captions.json"]


def reports_of(name):
    """The report of a study; of a series, its members' as well. Of a shard, the files of its runs."""
    if SHARD is None:
        return [f"reports/{each}/report.html" for each in dict.fromkeys([*studies_of(name), name])]
    return [file for study in studies_of(name) for file in made_of_shard(STUDIES[study])]


def made_of_shard(study):
    """What tables read last of the runs of a shard's variants."""
    part = replace(study, variants=tuple(shard_of(study.variants, SHARD)))
    scores = [paths.queries(part, variant, block, "test") for variant in part.variants for block in blocks(part)]
    return [str(file) for file in (*scores, *calibration_files(part))]


def studies_of(name):
    """The study of that name, or the members of a series."""
    return [member.name for member in SERIES[name].members] if name in SERIES else [name]


def keep_overrides():
    """Before jobs start: what the command line set lies beside the results that they make."""
    for name in {job.wildcards.study for job in workflow.dag.needrun_jobs() if "study" in job.wildcards_dict}:
        keep(STUDIES[name], Path("."))


def set_finished_runs_aside():
    """Before their files are deleted: what is of the present config, code and data already is not trained again."""
    for job in workflow.dag.needrun_jobs():
        if job.rule.name in ("train", "run") and not workflow.dag.reason(job).forced:
            set_aside(of_study(job.wildcards), job.wildcards.variant, job.wildcards.block, Path("."), CODE)


def check_what_jobs_request():
    """A partition or GPUs that are not there are named before the first job."""
    jobs = [(job.rule.name, dict(job.resources)) for job in workflow.dag.needrun_jobs()]
    try:
        check_requests(workflow.executor_plugin.name, jobs)
        if PROCESSES > 1 and DEVICE != "cpu" and workflow.local_exec:
            enough_devices(DEVICE, PROCESSES)
        for job in workflow.dag.needrun_jobs():
            gpus = job.resources.get("gpu", 0) if job.rule.name in ("train", "run") else 0
            if gpus and DEVICE != "cpu" and trains_whole_encoders(job.wildcards) and gpus < PROCESSES:
                raise bad_input(
                    "fewer GPUs than processes, each of which trains on one",
                    file=f"rule {job.rule.name}",
                    key="gpu",
                    value=gpus,
                    allowed=[PROCESSES],
                    hint=f"--set-resources {job.rule.name}:gpu={PROCESSES}",
                )
    except UserError as error:
        raise WorkflowError(str(error)) from None


def tell_where_the_reports_are():
    for each in (*STUDIES.values(), *SERIES.values()):
        page = paths.reports_folder(each) / "report.html"
        if page.exists() and page.stat().st_mtime >= STARTED:
            print(f"The report of {'series' if each.name in SERIES else 'study'} {each.name}: {page}")
