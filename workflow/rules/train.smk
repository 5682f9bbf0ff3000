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
        together=lambda wildcards, output: together(wildcards),
        threads=lambda wildcards, output: LOADERS if trains_whole_encoders(wildcards) else 1,
    shell:
        "{params.trainer} train {params.study} --variant {wildcards.variant} --block {wildcards.block}"
        " --threads {params.threads} --device {DEVICE}{params.together} > {log} 2>&1 || {{ cat {log} >&2; exit 1; }}"
