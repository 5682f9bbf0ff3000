# The two frozen encoders: shipped for `scenes` (further draws are pretrained here), given by the user for a corpus; their
# features, once for all runs.
rule pretrain:
    output:
        "resources/encoders/{pair}/{modality}/model.safetensors",
        "resources/encoders/{pair}/{modality}/config.json",
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


rule extract:
    input:
        manifest="resources/{data}/manifest.json",
        encoder=encoder_files,
    output:
        "resources/{data}/features/{modality}-{encoder}/manifest.json",
        "resources/{data}/features/{modality}-{encoder}/values.bin",
    log:
        "logs/{data}/extract.{modality}-{encoder}.log",
    benchmark:
        "benchmarks/{data}/extract.{modality}-{encoder}.tsv"
    threads: 1
    resources:
        **ON_GPU,
    params:
        code=extracting_code,
        study=features_arguments,
    shell:
        "logged {log} fne extract {params.study} --modality {wildcards.modality} --threads {threads} --device {DEVICE}"
