# One job trains one variant with one block of seeds. One thread each, so that jobs run side by side: two threads that
# share a core with another job are slower than one. Whole encoders may train in several processes. Its resumable state lies in scratch/, which is no output.
rule train:
    input:
        manifest=prepared,
        truth=truths("train", "val"),
        image=inputs_of("image"),
        text=inputs_of("text"),
    output:
        expand("results/{{study}}/{{variant}}/{{block}}/{file}", file=TRAINED),
    log:
        "logs/{study}/train/{variant}.{block}.log",
    benchmark:
        "benchmarks/{study}/train/{variant}.{block}.tsv"
    threads: lambda wildcards: LOADERS * PROCESSES if trains_whole_encoders(wildcards) else 1
    resources:
        gpu=lambda wildcards: GPUS * PROCESSES if trains_whole_encoders(wildcards) else GPUS,
    params:
        code=training_code,
        digest=trained_config,
        encoders=encoders_read,
        study=study_arguments,
        trainer=lambda wildcards, output: trainer(wildcards),  # of `output`, so that it is no trigger
        threads=lambda wildcards, output: LOADERS if trains_whole_encoders(wildcards) else 1,
    shell:
        "{params.trainer} train {params.study} --variant {wildcards.variant} --block {wildcards.block}"
        " --threads {params.threads} --device {DEVICE} > {log} 2>&1 || {{ cat {log} >&2; exit 1; }}"


# From weights to the numbers of a run. Torch ends with `rank`.
rule rank:
    input:
        weights="results/{study}/{variant}/{block}/weights.safetensors",
        manifest=prepared,
        truth=truths(),
        image=inputs_of("image"),
        text=inputs_of("text"),
        relevance=relevance_files,
        sources=sources("fne.steps.rank"),
    output:
        "results/{study}/{variant}/{block}/rankings.{split}.npz",
    log:
        "logs/{study}/rank/{variant}.{block}.{split}.log",
    benchmark:
        "benchmarks/{study}/rank/{variant}.{block}.{split}.tsv"
    threads: lambda wildcards: LOADERS if trains_whole_encoders(wildcards) else 1
    resources:
        gpu=GPUS,
    params:
        study=study_arguments,
    shell:
        "fne rank {params.study} --variant {wildcards.variant} --block {wildcards.block} --split {wildcards.split}"
        " --threads {threads} --device {DEVICE} > {log} 2>&1 || {{ cat {log} >&2; exit 1; }}"


rule evaluate:
    input:
        "results/{study}/{variant}/{block}/rankings.{split}.npz",
        sources("fne.steps.evaluate"),
    output:
        metrics="results/{study}/{variant}/{block}/metrics.{split}.json",
        queries="results/{study}/{variant}/{block}/queries.{split}.npz",
    log:
        "logs/{study}/evaluate/{variant}.{block}.{split}.log",
    benchmark:
        "benchmarks/{study}/evaluate/{variant}.{block}.{split}.tsv"
    params:
        evaluation=evaluated_config,
        study=study_arguments,
    shell:
        "fne evaluate {params.study} --variant {wildcards.variant} --block {wildcards.block} --split {wildcards.split}"
        " > {log} 2>&1 || {{ cat {log} >&2; exit 1; }}"


rule calibrate:
    input:
        weights="results/{study}/{variant}/{block}/weights.safetensors",
        manifest=prepared,
        truth=truths("val", "test"),
        image=inputs_of("image"),
        text=inputs_of("text"),
        ratings=ratings_files,
        sources=sources("fne.steps.calibrate"),
    output:
        "results/{study}/{variant}/{block}/calibration.npz",
    log:
        "logs/{study}/calibrate/{variant}.{block}.log",
    benchmark:
        "benchmarks/{study}/calibrate/{variant}.{block}.tsv"
    threads: lambda wildcards: LOADERS if trains_whole_encoders(wildcards) else 1
    resources:
        gpu=GPUS,
    params:
        match=rating_of_a_match,
        study=study_arguments,
    shell:
        "fne calibrate {params.study} --variant {wildcards.variant} --block {wildcards.block}"
        " --threads {threads} --device {DEVICE} > {log} 2>&1 || {{ cat {log} >&2; exit 1; }}"
