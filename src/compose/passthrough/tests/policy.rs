//! The policy corpus: what a compose file is refused, and what it would take to permit it.

use crate::base::fault::Explain as _;
use crate::compose::Problem;

use super::Project;
use super::adapt;
use super::input;
use super::passthrough;

/// A line of the service `web`, the key the refusal must name, and the entry of `allow` that would permit it
/// (empty: nothing does).
const SERVICE: &[(&str, &str, &str)] = &[
    ("privileged: true", "privileged", "privileged"),
    ("privileged: yes", "privileged", "privileged"),
    ("privileged: \"true\"", "privileged", "privileged"),
    ("privileged: 1", "privileged", "privileged"),
    ("privileged: ${P:-true}", "privileged", "privileged"),
    ("cap_add: [SYS_ADMIN]", "cap_add", "cap_add:SYS_ADMIN"),
    ("cap_add: [cap_sys_admin]", "cap_add", "cap_add:SYS_ADMIN"),
    ("cap_add: [ALL]", "cap_add", "cap_add:ALL"),
    ("cap_add: [NET_ADMIN]", "cap_add", "cap_add:NET_ADMIN"),
    ("cap_add: [SYS_PTRACE, CHOWN]", "cap_add", "cap_add:SYS_PTRACE"),
    ("cap_add: ['${C:-SYS_MODULE}']", "cap_add", "cap_add:SYS_MODULE"),
    ("network_mode: host", "network_mode", "network_mode:host"),
    ("network_mode: ${M-host}", "network_mode", "network_mode:host"),
    ("network_mode: container:other", "network_mode", "network_mode:container:other"),
    ("network_mode: somebodys_network", "network_mode", "network_mode:somebodys_network"),
    ("pid: host", "pid", "pid:host"),
    ("pid: container:x", "pid", "pid:container:x"),
    ("ipc: host", "ipc", "ipc:host"),
    ("ipc: container:x", "ipc", "ipc:container:x"),
    ("uts: host", "uts", "uts:host"),
    ("userns_mode: host", "userns_mode", "userns_mode:host"),
    ("cgroup: host", "cgroup", "cgroup:host"),
    ("cgroup_parent: /", "cgroup_parent", "cgroup_parent"),
    ("devices: [/dev/sda]", "devices", "devices"),
    ("devices: [{source: /dev/kvm, target: /dev/kvm}]", "devices", "devices"),
    ("device_cgroup_rules: ['a *:* rwm']", "device_cgroup_rules", "device_cgroup_rules"),
    ("gpus: all", "gpus", "gpus"),
    (
        "deploy: {resources: {reservations: {devices: [{capabilities: [gpu]}]}}}",
        "deploy.resources.reservations.devices",
        "devices",
    ),
    ("volumes: [/var/run/docker.sock:/var/run/docker.sock]", "volumes[0]", "bind:/var/run/docker.sock"),
    ("volumes: [/var/run/docker.sock:/var/run/docker.sock:ro]", "volumes[0]", "bind:/var/run/docker.sock"),
    ("volumes: [/run/../var/run/docker.sock:/s]", "volumes[0]", "bind:/var/run/docker.sock"),
    ("volumes: ['${SOCK:-/var/run/docker.sock}:/s']", "volumes[0]", "bind:/var/run/docker.sock"),
    ("volumes: [/var/run:/run]", "volumes[0]", "bind:/var/run"),
    ("volumes: ['/:/host']", "volumes[0]", "bind:/"),
    ("volumes: [/etc:/etc:ro]", "volumes[0]", "bind:/etc"),
    ("volumes: [/proc:/p]", "volumes[0]", "bind:/proc"),
    ("volumes: [../:/up]", "volumes[0]", "bind:/workspaces"),
    ("volumes: [./../../etc:/e]", "volumes[0]", "bind:/etc"),
    ("volumes: [./html/../../other:/o]", "volumes[0]", "bind:/workspaces/other"),
    ("volumes: [~/.ssh:/ssh]", "volumes[0]", ""),
    ("volumes: ['${HOME}/x:/x']", "volumes[0]", "bind:/x"),
    ("volumes: [{type: bind, source: /etc, target: /e}]", "volumes[0]", "bind:/etc"),
    (
        "volumes: [{type: bind, source: html, target: /e, bind: {propagation: shared}}]",
        "volumes[0].bind.propagation",
        "",
    ),
    ("volumes: [./html:/h:rshared]", "volumes[0].bind.propagation", ""),
    ("volumes: [{type: npipe, source: x, target: /e}]", "volumes[0]", ""),
    ("volumes: [{type: cluster, source: x, target: /e}]", "volumes[0]", ""),
    ("volumes: [{type: image, source: x, target: /e}]", "volumes[0]", ""),
    ("volumes_from: [other]", "volumes_from", "volumes_from"),
    ("security_opt: [seccomp:unconfined]", "security_opt", "security_opt:seccomp:unconfined"),
    ("security_opt: ['seccomp=unconfined']", "security_opt", "security_opt:seccomp:unconfined"),
    ("security_opt: [apparmor=unconfined]", "security_opt", "security_opt:apparmor:unconfined"),
    ("security_opt: [label:disable]", "security_opt", "security_opt:label:disable"),
    ("security_opt: [systempaths=unconfined]", "security_opt", "security_opt:systempaths:unconfined"),
    ("security_opt: [no-new-privileges:false]", "security_opt", "security_opt:no-new-privileges:false"),
    ("sysctls: {kernel.shmmax: 1}", "sysctls.kernel.shmmax", "sysctls:kernel.shmmax"),
    ("sysctls: [net.ipv4.ip_forward=1]", "sysctls.net.ipv4.ip_forward", "sysctls:net.ipv4.ip_forward"),
    ("runtime: runc-evil", "runtime", "runtime"),
    ("isolation: process", "isolation", "isolation"),
    ("annotations: {run.oci.handler: krun}", "annotations", "annotations"),
    ("blkio_config: {device_read_bps: [{path: /dev/sda, rate: 1}]}", "blkio_config", "blkio_config"),
    ("cpu_rt_runtime: 95000", "cpu_rt_runtime", "cpu_rt_runtime"),
    ("oom_kill_disable: true", "oom_kill_disable", "oom_kill_disable"),
    ("oom_score_adj: -1000", "oom_score_adj", "oom_score_adj"),
    ("storage_opt: {size: 1G}", "storage_opt", "storage_opt"),
    ("credential_spec: {file: x.json}", "credential_spec", "credential_spec"),
    ("use_api_socket: true", "use_api_socket", "use_api_socket"),
    ("provider: {type: evil}", "provider", "provider"),
    ("models: [llm]", "models", "models"),
    ("external_links: [other_db]", "external_links", "external_links"),
    ("label_file: x.labels", "label_file", "label_file"),
    ("post_start: [{command: x, privileged: true}]", "post_start[0].privileged", "privileged"),
    ("pre_stop: [{command: x, privileged: 'yes'}]", "pre_stop[0].privileged", "privileged"),
    ("frobnicate: 1", "frobnicate", "frobnicate"),
    ("labels: {nexus.node: forged}", "labels.nexus.node", ""),
    ("labels: ['NEXUS.Workspace=x']", "labels.NEXUS.Workspace", ""),
    ("labels: {com.docker.compose.project: other}", "labels.com.docker.compose.project", ""),
    ("logging: {driver: syslog, options: {syslog-address: 'tcp://x'}}", "logging", "logging:syslog"),
    ("logging: {driver: gelf}", "logging", "logging:gelf"),
    ("env_file: ../.env", "env_file[0]", ""),
    ("env_file: /etc/environment", "env_file[0]", ""),
    ("env_file: [{path: ~/x, required: false}]", "env_file[0]", ""),
    ("build: ..", "build.context", ""),
    ("build: /etc", "build.context", ""),
    ("build: https://example.com/x.git", "build.context", ""),
    ("build: git@example.com:x.git", "build.context", ""),
    ("build: github.com/a/b", "build.context", ""),
    ("build: {context: ., dockerfile: ../Dockerfile}", "build.dockerfile", ""),
    ("build: {context: ., dockerfile: /etc/passwd}", "build.dockerfile", ""),
    ("build: {context: ., privileged: true}", "build.privileged", "build.privileged"),
    ("build: {context: ., ssh: [default]}", "build.ssh", "build.ssh"),
    ("build: {context: ., secrets: [x]}", "build.secrets", "build.secrets"),
    ("build: {context: ., entitlements: [security.insecure]}", "build.entitlements", "build.entitlements"),
    ("build: {context: ., network: host}", "build.network", "build.network:host"),
    ("build: {context: ., network: 'container:x'}", "build.network", "build.network:container:x"),
    ("build: {context: ., additional_contexts: {up: ..}}", "build.additional_contexts.up", ""),
    ("build: {context: ., additional_contexts: ['r=https://x/y']}", "build.additional_contexts.r", ""),
    ("build: {context: ., additional_contexts: {o: 'oci-layout:///x'}}", "build.additional_contexts.o", ""),
    ("build: {context: ., frobnicate: 1}", "build.frobnicate", "build.frobnicate"),
    ("extends: {file: ../other.yaml, service: x}", "extends", ""),
    ("extends: {file: 'https://x/compose.yaml', service: x}", "extends", ""),
    ("extends: {file: 'oci://x/y', service: x}", "extends", ""),
    ("extends: {file: /etc/compose.yaml, service: x}", "extends", ""),
    ("secrets: [out]", "secrets.out.file", ""),
    ("secrets: [env]", "secrets.env.environment", ""),
    ("secrets: [ext]", "secrets.ext.external", ""),
    ("configs: [inline]", "configs.inline.content", ""),
    ("configs: [{source: abs, target: /c}]", "configs.abs.file", ""),
    ("volumes: ['hidden:/h']", "volumes.hidden.driver_opts", "volumes.hidden.driver_opts"),
    ("volumes: ['nfs:/h']", "volumes.nfs.driver_opts", "volumes.nfs.driver_opts"),
    ("volumes: ['plugin:/h']", "volumes.plugin.driver", "volumes.plugin.driver"),
    ("volumes: ['theirs:/h']", "volumes.theirs.external", "volumes.theirs.external"),
    ("networks: [othernet]", "networks.othernet.external", "networks.othernet.external"),
    ("networks: [hostnet]", "networks.hostnet.driver", "networks.hostnet.driver"),
    ("networks: [lan]", "networks.lan.driver", "networks.lan.driver"),
    ("networks: [bound]", "networks.bound.driver_opts", "networks.bound.driver_opts"),
    ("healthcheck: {test: x, frobnicate: 1}", "healthcheck.frobnicate", ""),
    ("image: nexus-0ther00001-app", "image", ""),
];

/// What the lines above refer to.
const DECLARED: &str = "
volumes:
  hidden: {driver: local, driver_opts: {type: none, o: bind, device: /}}
  nfs: {driver_opts: {type: nfs, o: 'addr=10.0.0.1', device: ':/x'}}
  plugin: {driver: vieux/sshfs}
  theirs: {external: true}
networks:
  othernet: {external: true}
  hostnet: {driver: host}
  lan: {driver: macvlan}
  bound: {driver_opts: {com.docker.network.bridge.host_binding_ipv4: 0.0.0.0}}
secrets:
  out: {file: ../key}
  env: {environment: KEY}
  ext: {external: true}
configs:
  inline: {content: hi}
  abs: {file: /etc/shadow}
";

/// Only what is used is declared, since what is declared is judged whether or not it is used.
fn project(line: &str) -> String {
    let used = |entry: &str| entry.trim().split(':').next().is_some_and(|name| line.contains(name));
    let declared: String = DECLARED
        .lines()
        .filter(|entry| !entry.starts_with("  ") || used(entry))
        .map(|entry| format!("{entry}\n"))
        .collect();
    let image =
        if line.starts_with("image:") || line.starts_with("build:") { "" } else { "image: nginx\n    " };
    format!(
        "services:\n  web:\n    {image}ports: ['8080:80']\n    {line}\n  other: {{image: busybox}}\n{declared}"
    )
}

fn shown(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}; hint: {:?}\n", problem.hint())).collect()
}

#[test]
fn what_reaches_beyond_the_project_is_refused_by_key_with_its_override() {
    assert!(SERVICE.len() >= 80);
    for (line, key, allow) in SERVICE {
        let text = project(line);
        let problems = adapt(&text).expect_err(line);
        let at_service = format!("services.web.{key}");
        let found = problems.iter().find(|problem| problem.key == at_service || problem.key == *key);
        let found = found.unwrap_or_else(|| panic!("{line}: no problem names {key}\n{}", shown(&problems)));
        assert!(found.message.starts_with("refused: "), "{line}: {found}");
        assert!(found.hint().is_some(), "{line}: no hint");
        let (row, _) = found.place.unwrap_or_else(|| panic!("{line}: no place: {found}"));
        let there = text.lines().nth(row - 1).unwrap();
        let part = |part: &str| !["services", "web", ""].contains(&part) && there.contains(part);
        assert!(found.key.split(['.', '[', ']']).any(part), "{line}: {found} is not at `{there}`");
        assert_eq!(found.allow.as_deref().unwrap_or_default(), *allow, "{line}");
    }
}

#[test]
fn the_entry_a_refusal_names_permits_it() {
    let mut permitted = 0;
    for (line, _, allow) in SERVICE.iter().filter(|(_, _, allow)| !allow.is_empty()) {
        let text = project(line);
        let files = Project::of(&[("compose.yaml", &text), ("Dockerfile", ""), ("other", "")]);
        let mut input = input(&files);
        input.overrides.allow = vec![(*allow).to_owned()];
        let plan = passthrough(&input).unwrap_or_else(|problems| panic!("{line}: {}", shown(&problems)));
        assert!(
            plan.notices.iter().any(|notice| notice.contains("permitted by `allow`")),
            "{line}: {:?}",
            plan.notices
        );
        assert!(!line.contains("capabilities: [gpu]") || plan.file.contains("- gpu"), "{}", plan.file);
        permitted += 1;
    }
    assert!(permitted > 50);
}

#[test]
fn top_level_keys_are_refused_too() {
    for (text, key) in [
        ("include: [other.yaml]\nservices: {web: {image: nginx, ports: ['80']}}", "include"),
        ("include: ['oci://registry/x']\nservices: {web: {image: nginx, ports: ['80']}}", "include"),
        ("models: {llm: {model: x}}\nservices: {web: {image: nginx, ports: ['80']}}", "models"),
        ("frobnicate: 1\nservices: {web: {image: nginx, ports: ['80']}}", "frobnicate"),
        (
            "services: {web: {image: nginx, ports: ['80']}}\nnetworks: {default: {external: true}}",
            "networks.default.external",
        ),
        (
            "services: {web: {image: nginx, ports: ['80']}}\nnetworks: {x: {driver: host}}",
            "networks.x.driver",
        ),
        (
            "services: {web: {image: nginx, ports: ['80']}}\nnetworks: {x: {labels: {nexus.node: y}}}",
            "networks.x.labels.nexus.node",
        ),
    ] {
        let problems = adapt(text).expect_err(text);
        assert!(problems.iter().any(|problem| problem.key == key), "{text}: {}", shown(&problems));
    }
}

#[test]
fn what_hides_behind_yaml_is_seen() {
    for text in [
        "x-base: &base {privileged: true}\nservices: {web: {<<: *base, image: nginx, ports: ['80']}}",
        "services:\n  base: {image: nginx, privileged: true}\n  web: {extends: base, ports: ['80']}",
        "services: {web: {image: nginx, ports: ['80'], volumes: &v ['/etc:/e']}}",
        "services: {web: {image: nginx, ports: ['80'], 'privileged': !!str true}}",
    ] {
        let problems = adapt(text).expect_err(text);
        assert!(
            problems.iter().any(|problem| problem.message.starts_with("refused")),
            "{text}: {}",
            shown(&problems)
        );
    }
    let files = Project::of(&[
        ("compose.yaml", "services: {web: {image: nginx, ports: ['80']}}"),
        ("compose.override.yaml", "services: {web: {privileged: true}}"),
    ]);
    let shown = passthrough(&input(&files)).unwrap_err()[0].to_string();
    assert!(shown.starts_with("`services.web.privileged`: refused"), "{shown}");
    assert!(shown.ends_with("(compose.override.yaml:1:18)"), "{shown}");
    let files = Project::of(&[
        ("compose.yaml", "services: {web: {extends: {file: sub/base.yaml, service: b}, ports: ['80']}}"),
        ("sub/base.yaml", "services: {b: {image: nginx, volumes: ['../../up:/up']}}"),
    ]);
    assert_eq!(passthrough(&input(&files)).unwrap_err()[0].allow.as_deref(), Some("bind:/workspaces/up"));
}

#[test]
fn a_link_out_of_the_project_is_refused() {
    let compose = "services: {web: {build: ., ports: ['80'], volumes: ['./out:/o'], env_file: .env.out}}";
    let mut files = Project::of(&[("compose.yaml", compose), ("Dockerfile", "")]);
    files.0.insert("out".to_owned(), None);
    files.0.insert(".env.out".to_owned(), None);
    let problems = passthrough(&input(&files)).unwrap_err();
    let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["services.web.env_file[0]", "services.web.volumes[0]"], "{}", shown(&problems));
    let mut files = Project::of(&[("Dockerfile", "")]);
    files.0.insert("compose.yaml".to_owned(), None);
    assert!(passthrough(&input(&files)).unwrap_err()[0].message.contains("cannot be read"));
}
