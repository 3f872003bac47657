//! The little that is read of a Dockerfile: the ports it says its program listens on.

use std::collections::BTreeMap;

/// The TCP ports of the last stage's `EXPOSE` lines, in order; variables with a default in the file are resolved.
pub(super) fn exposed(text: &str) -> Vec<u16> {
    let mut ports: Vec<u16> = Vec::new();
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    let mut stages: BTreeMap<String, Vec<u16>> = BTreeMap::new();
    let mut stage = String::new();
    for line in text.replace("\\\r\n", " ").replace("\\\n", " ").lines() {
        let mut words = line.split_whitespace();
        let instruction = words.next().unwrap_or_default().to_ascii_uppercase();
        match instruction.as_str() {
            // A stage inherits from a stage before it, or from an image whose ports the engine knows.
            "FROM" => {
                stages.insert(std::mem::take(&mut stage), std::mem::take(&mut ports));
                let words: Vec<String> =
                    words.filter(|word| !word.starts_with("--")).map(str::to_ascii_lowercase).collect();
                ports = words.first().and_then(|image| stages.get(image)).cloned().unwrap_or_default();
                if let [_, separator, name] = words.as_slice()
                    && separator == "as"
                {
                    stage.clone_from(name);
                }
            }
            "ARG" | "ENV" => {
                let words: Vec<&str> = words.collect();
                match words.as_slice() {
                    [name, value] if !name.contains('=') => {
                        drop(known.insert((*name).to_owned(), (*value).to_owned()))
                    }
                    words => known.extend(words.iter().filter_map(|word| {
                        let (name, value) = word.split_once('=')?;
                        Some((name.to_owned(), value.trim_matches(['"', '\'']).to_owned()))
                    })),
                }
            }
            "EXPOSE" => {
                for word in words {
                    ports.extend(range(&resolve(word, &known)).filter(|port| *port != 0));
                }
            }
            _ => {}
        }
    }
    ports.dedup();
    ports
}

fn resolve(word: &str, known: &BTreeMap<String, String>) -> String {
    let Some(rest) = word.strip_prefix('$') else { return word.to_owned() };
    let (name, tail) = match rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
        Some(braced) => braced,
        None => rest.split_at(rest.find('/').unwrap_or(rest.len())),
    };
    let (name, default) = name.split_once(":-").unwrap_or((name, ""));
    format!("{}{tail}", known.get(name).map_or(default, String::as_str))
}

/// `80`, `80/tcp`, `3000-3003`; nothing for UDP and for what is no port.
fn range(word: &str) -> impl Iterator<Item = u16> + use<> {
    let (ports, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let range = match (first.parse::<u16>(), last.parse::<u16>()) {
        (Ok(first), Ok(last)) if protocol.eq_ignore_ascii_case("tcp") => Some(first..=last),
        _ => None,
    };
    range.into_iter().flatten().take(64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_stage_counts() {
        let text = "FROM a AS build\nEXPOSE 1\nFROM b\nARG PORT=3000\nENV OTHER 4000\nexpose $PORT ${OTHER}/tcp 53/udp \\\n 9000-9002 x ${NO:-7}\n";
        assert_eq!(exposed(text), [3000, 4000, 9000, 9001, 9002, 7]);
        assert_eq!(exposed(""), [0_u16; 0]);
        assert_eq!(
            exposed("FROM --platform=x a AS Base\nEXPOSE 80\nFROM b AS build\nEXPOSE 9\nFROM base\n"),
            [80]
        );
    }
}
