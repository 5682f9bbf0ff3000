# The two frozen encoders: pretrained here for `scenes`, given by the user for a corpus; their features, once for all runs.
rule pretrain:
    output:
        "resources/{data}/encoders/{modality}/model.safetensors",
        "resources/{data}/encoders/{modality}/config.json",
    log:
        "logs/{data}/pretrain.{modality}.log",
    benchmark:
        "benchmarks/{data}/pretrain.{modality}.tsv"
    threads: 1
    params:
        protocol=fne.PROTOCOL,
        study=data_arguments,
    shell:
        "fne pretrain {params.study} --modality {wildcards.modality} --threads {threads}"
        " > {log} 2>&1 || {{ cat {log} >&2; exit 1; }}"


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
        gpu=GPUS,
    params:
        protocol=fne.PROTOCOL,
        study=data_arguments,
    shell:
        "fne extract {params.study} --modality {wildcards.modality} --threads {threads} --device {DEVICE}"
        " > {log} 2>&1 || {{ cat {log} >&2; exit 1; }}"
