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
        **(ON_GPU and {"gpu": trainer_gpus}),
    params:
        code=training_code,
        digest=trained_config,
        encoders=encoders_read,
        study=study_arguments,
        trainer=lambda wildcards, output: trainer(wildcards),  # of `output`, so that it is no trigger
        together=lambda wildcards, output: together(wildcards),
        threads=lambda wildcards, output: LOADERS if trains_whole_encoders(wildcards) else 1,
    shell:
        "logged {log} {params.trainer} train {params.study} --variant {wildcards.variant} --block {wildcards.block}"
        " --threads {params.threads} --device {DEVICE}{params.together}"


# From weights to the numbers of a run. Torch ends with `rank`.
rule rank:
    input:
        run=expand("results/{{study}}/{{variant}}/{{block}}/{file}", file=("weights.safetensors", "run.json")),
        manifest=prepared,
        truth=truths(),
        image=inputs_of("image"),
        text=inputs_of("text"),
        relevance=relevance_files,
    output:
        "results/{study}/{variant}/{block}/rankings.{split}.npz",
        growing("results/{study}/{variant}/{block}/readings.{split}.jsonl"),
    log:
        "logs/{study}/rank/{variant}.{block}.{split}.log",
    benchmark:
        "benchmarks/{study}/rank/{variant}.{block}.{split}.tsv"
    threads: lambda wildcards: LOADERS if trains_whole_encoders(wildcards) else 1
    resources:
        **ON_GPU,
    params:
        made_by=RESULT_CODE.of_modules("fne.steps.rank"),
        study=study_arguments,
    shell:
        "logged {log} fne rank {params.study} --variant {wildcards.variant} --block {wildcards.block} --split {wildcards.split}"
        " --threads {threads} --device {DEVICE}"


rule evaluate:
    input:
        "results/{study}/{variant}/{block}/rankings.{split}.npz",
    output:
        metrics="results/{study}/{variant}/{block}/metrics.{split}.json",
        queries="results/{study}/{variant}/{block}/queries.{split}.npz",
    log:
        "logs/{study}/evaluate/{variant}.{block}.{split}.log",
    benchmark:
        "benchmarks/{study}/evaluate/{variant}.{block}.{split}.tsv"
    params:
        made_by=RESULT_CODE.of_modules("fne.steps.evaluate"),
        evaluation=evaluated_config,
        study=study_arguments,
    shell:
        "logged {log} fne evaluate {params.study} --variant {wildcards.variant} --block {wildcards.block} --split {wildcards.split}"


rule calibrate:
    input:
        run=expand("results/{{study}}/{{variant}}/{{block}}/{file}", file=("weights.safetensors", "run.json")),
        manifest=prepared,
        truth=truths("val", "test"),
        image=inputs_of("image"),
        text=inputs_of("text"),
        ratings=ratings_files,
    output:
        "results/{study}/{variant}/{block}/calibration.npz",
        growing("results/{study}/{variant}/{block}/readings.calibrate.jsonl"),
    log:
        "logs/{study}/calibrate/{variant}.{block}.log",
    benchmark:
        "benchmarks/{study}/calibrate/{variant}.{block}.tsv"
    threads: lambda wildcards: LOADERS if trains_whole_encoders(wildcards) else 1
    resources:
        **ON_GPU,
    params:
        made_by=RESULT_CODE.of_modules("fne.steps.calibrate"),
        match=rating_of_a_match,
        study=study_arguments,
    shell:
        "logged {log} fne calibrate {params.study} --variant {wildcards.variant} --block {wildcards.block}"
        " --threads {threads} --device {DEVICE}"
