# The two frozen encoders: shipped for `scenes` (further draws are pretrained here), given by the user for a corpus; their
# features, once for all runs.
rule pretrain:
    output:
        directory("resources/encoders/{pair}/{modality}"),
    log:
        "logs/encoders/{pair}.{modality}.log",
    benchmark:
        "benchmarks/encoders/{pair}.{modality}.tsv"
    threads: 1
    params:
        code=CODE.of(PRETRAIN),
        study=pair_arguments,
    shell:
        "logged {log} fne pretrain {params.study} --modality {wildcards.modality} --threads {threads}"


# A store's bytes depend neither on threads nor on parts. What a killed job had finished lies in `.partial` beside its
# output: no output itself, since Snakemake deletes those before the job starts anew.
rule extract:
    input:
        data=prepared_rows,
        read=lambda wildcards: parts_of(wildcards) or encoded_files(wildcards),
    output:
        "resources/{data}/features/{modality}-{encoder}/manifest.json",
        "resources/{data}/features/{modality}-{encoder}/values.bin",
    log:
        "logs/{data}/extract.{modality}-{encoder}.log",
    benchmark:
        "benchmarks/{data}/extract.{modality}-{encoder}.tsv"
    threads: extracting_threads
    resources:
        **ON_GPU,
    params:
        code=extracting_code,
        study=features_arguments,
        join=lambda wildcards, output: f"--join {len(parts)}" if (parts := parts_of(wildcards)) else "",
    shell:
        "logged {log} fne extract {params.study} --modality {wildcards.modality} --threads {threads} --device {DEVICE}"
        " {params.join}"


if TOKENS:

    use rule extract as extract_tokens with:
        output:
            *rules.extract.output,
            "resources/{data}/features/{modality}-{encoder}/offsets.npy",
        wildcard_constraints:
            encoder="|".join(map(re.escape, TOKENS)),

    ruleorder: extract_tokens > extract


# With `--config shards=N`: N jobs make a store.
rule extract_part:
    input:
        data=prepared_rows,
        read=encoded_files,
    output:
        temp(directory("resources/{data}/features/{modality}-{encoder}.parts/{part}-of-{parts}")),
    log:
        "logs/{data}/extract.{modality}-{encoder}.{part}-of-{parts}.log",
    benchmark:
        "benchmarks/{data}/extract.{modality}-{encoder}.{part}-of-{parts}.tsv"
    threads: extracting_threads
    resources:
        **ON_GPU,
    params:
        code=extracting_code,
        study=features_arguments,
    shell:
        "logged {log} fne extract {params.study} --modality {wildcards.modality} --threads {threads} --device {DEVICE}"
        " --shard {wildcards.part}/{wildcards.parts}"
