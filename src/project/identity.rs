//! How a project shows itself: its title, a sentence and an icon, from its own files.
//!
//! A web manifest and a page's head were written for people, so they win; then the package's manifest, then the
//! README's first heading.

use serde_json::Value;

use crate::model::project::Identity;
use crate::model::project::Overrides;
use crate::project::detect::clean_path;
use crate::project::detect::pattern;
use crate::project::listing::EntryKind;
use crate::project::listing::Listing;

/// Folders a site's files lie in, besides the root.
const FOLDERS: [&str; 12] = [
    "", "public/", "static/", "src/", "app/", "site/", "docs/", "dist/", "build/", "web/", "htdocs/",
    "assets/",
];
const ICONS: [&str; 9] = [
    "icon.svg",
    "favicon.svg",
    "logo.svg",
    "icon.png",
    "favicon.png",
    "logo.png",
    "apple-touch-icon.png",
    "favicon.ico",
    "icon.ico",
];
const TITLE_MAX: usize = 80;
const DESCRIPTION_MAX: usize = 300;

pattern!(TITLE, r"(?is)<title[^>]*>(.*?)</title>");
pattern!(META, r#"(?is)<meta\s[^>]*>"#);
pattern!(LINK, r#"(?is)<link\s[^>]*>"#);
pattern!(ATTRIBUTE, r#"(?is)([\w-]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]+))"#);
pattern!(HEADING, r"(?m)^\s{0,3}#\s+(.+?)\s*#*\s*$");

/// Reads title, description and icon; what the user states wins.
pub fn identify(listing: &Listing, overrides: &Overrides) -> Identity {
    let found = [web_manifest(listing), page(listing), package(listing), pyproject(listing), readme(listing)];
    let first = |part: fn(&Identity) -> Option<&String>, max: usize| {
        found.iter().filter_map(part).map(|text| clean(text, max)).find(|text| !text.is_empty())
    };
    let stated = &overrides.identity;
    let there = |icon: &String| is_file(listing, icon);
    Identity {
        title: stated.title.clone().or_else(|| first(|identity| identity.title.as_ref(), TITLE_MAX)),
        description: stated
            .description
            .clone()
            .or_else(|| first(|identity| identity.description.as_ref(), DESCRIPTION_MAX)),
        icon: stated
            .icon
            .clone()
            .or_else(|| found.iter().filter_map(|identity| identity.icon.clone()).find(there))
            .or_else(|| icon_file(listing)),
    }
}

fn is_file(listing: &Listing, path: &str) -> bool {
    listing.entry(path).is_some_and(|entry| entry.kind == EntryKind::File)
}

/// One line of text for people: markup, entities and controls resolved.
fn clean(text: &str, max: usize) -> String {
    let plain = text
        .replace("&amp;", "&")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&nbsp;", " ");
    let words: Vec<&str> =
        plain.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect();
    let line = words.join(" ");
    // A template's placeholder is no title.
    if line.contains("{{") || line.contains("<%") || line.contains("{%") || line.contains("%PUBLIC_URL%") {
        return String::new();
    }
    line.chars().take(max).collect()
}

fn text_at(value: &Value, key: &str) -> Option<String> {
    value.get(key)?.as_str().map(str::to_owned)
}

fn json(listing: &Listing, path: &str) -> Option<Value> {
    serde_json::from_str(listing.text(path)?).ok()
}

fn web_manifest(listing: &Listing) -> Identity {
    let names = ["manifest.webmanifest", "site.webmanifest", "manifest.json"];
    let found =
        FOLDERS.iter().flat_map(|folder| names.iter().map(move |name| (*folder, format!("{folder}{name}"))));
    let Some((folder, manifest)) =
        found.into_iter().find_map(|(folder, path)| Some((folder, json(listing, &path)?)))
    else {
        return Identity::default();
    };
    // The icon nearest to what a tile shows.
    let icons = manifest.get("icons").and_then(Value::as_array);
    let size = |icon: &&Value| {
        let sizes = text_at(icon, "sizes").unwrap_or_default();
        let side: i64 = sizes.split(['x', ' ']).next().and_then(|side| side.parse().ok()).unwrap_or(192);
        (side - 192).abs()
    };
    let icon = icons.into_iter().flatten().min_by_key(size).and_then(|icon| text_at(icon, "src"));
    Identity {
        title: text_at(&manifest, "name").or_else(|| text_at(&manifest, "short_name")),
        description: text_at(&manifest, "description"),
        icon: icon.and_then(|icon| beside(listing, folder, &icon)),
    }
}

/// A path a page in `folder` names, as a file of the project: relative, or from the site's root.
fn beside(listing: &Listing, folder: &str, reference: &str) -> Option<String> {
    let reference = reference.split(['?', '#']).next()?;
    if reference.contains("://") || reference.starts_with("//") || reference.starts_with("data:") {
        return None;
    }
    let reference = reference.trim_start_matches("%PUBLIC_URL%");
    let path = clean_path(reference.trim_start_matches('/'))?;
    let places = [folder, "public/", "static/", ""];
    places.iter().map(|place| format!("{place}{path}")).find(|path| is_file(listing, path))
}

fn page(listing: &Listing) -> Identity {
    let pages = FOLDERS.iter().map(|folder| (*folder, format!("{folder}index.html")));
    let Some((folder, text)) =
        pages.into_iter().find_map(|(folder, path)| Some((folder, listing.text(&path)?)))
    else {
        return Identity::default();
    };
    let attributes = |tag: &str| -> Vec<(String, String)> {
        let pairs = ATTRIBUTE.captures_iter(tag).map(|found| {
            let value = found.get(2).or(found.get(3)).or(found.get(4)).map_or("", |value| value.as_str());
            (found[1].to_ascii_lowercase(), value.to_owned())
        });
        pairs.collect()
    };
    let of = |pairs: &[(String, String)], name: &str| {
        pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    };
    let description = META.find_iter(text).take(100).map(|tag| attributes(tag.as_str())).find_map(|pairs| {
        let name = of(&pairs, "name").or_else(|| of(&pairs, "property"))?;
        ["description", "og:description"].contains(&name.as_str()).then(|| of(&pairs, "content"))?
    });
    let icon = LINK.find_iter(text).take(100).map(|tag| attributes(tag.as_str())).find_map(|pairs| {
        let icon = of(&pairs, "rel")?
            .to_ascii_lowercase()
            .split_whitespace()
            .any(|rel| rel == "icon" || rel == "apple-touch-icon");
        icon.then(|| beside(listing, folder, &of(&pairs, "href")?))?
    });
    Identity { title: TITLE.captures(text).map(|found| found[1].to_owned()), description, icon }
}

fn package(listing: &Listing) -> Identity {
    let manifest = ["package.json", "composer.json", "app.json"].iter().find_map(|file| json(listing, file));
    let Some(manifest) = manifest else { return Identity::default() };
    let name =
        text_at(&manifest, "displayName").or_else(|| text_at(&manifest, "productName")).or_else(|| {
            // The scope or vendor names a maker, not the thing.
            text_at(&manifest, "name").map(|name| name.rsplit('/').next().unwrap_or_default().to_owned())
        });
    let icon = text_at(&manifest, "icon").and_then(|icon| clean_path(&icon));
    Identity { title: name, description: text_at(&manifest, "description"), icon }
}

fn pyproject(listing: &Listing) -> Identity {
    let table =
        listing.text("pyproject.toml").and_then(|text| text.parse::<toml::Table>().ok()).unwrap_or_default();
    let project = table.get("project").or_else(|| table.get("tool")?.get("poetry"));
    let text = |key: &str| project.and_then(|project| project.get(key)?.as_str()).map(str::to_owned);
    Identity { title: text("name"), description: text("description"), icon: None }
}

fn readme(listing: &Listing) -> Identity {
    let file = listing.below("").map(|(path, _)| path).find(|path| {
        let name = path.to_ascii_lowercase();
        ["readme.md", "readme.markdown", "readme", "readme.txt"].contains(&name.as_str())
    });
    let text = file.and_then(|file| listing.text(file)).unwrap_or_default();
    let title = HEADING.captures(text).map(|found| found[1].replace(['*', '`', '_'], " "));
    Identity {
        title: title.filter(|title| !title.contains("](") && !title.contains('<')),
        ..Identity::default()
    }
}

fn icon_file(listing: &Listing) -> Option<String> {
    FOLDERS
        .iter()
        .flat_map(|folder| ICONS.iter().map(move |icon| format!("{folder}{icon}")))
        .find(|path| is_file(listing, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(files: &[(&str, &str)]) -> Identity {
        identify(&Listing::of_files(files.iter().copied()), &Overrides::default())
    }

    fn triple(identity: &Identity) -> (&str, &str, &str) {
        let text = |part: &Option<String>| part.as_deref().unwrap_or("-").to_owned();
        let parts = (text(&identity.title), text(&identity.description), text(&identity.icon));
        (
            Box::leak(parts.0.into_boxed_str()),
            Box::leak(parts.1.into_boxed_str()),
            Box::leak(parts.2.into_boxed_str()),
        )
    }

    #[test]
    fn a_page_names_itself() {
        let head = "<title>\n My &amp; Shop </title><meta content='Sells things' name=description>\
                    <link href=\"/shop.svg?v=2\" rel=\"shortcut icon\">";
        let found = identity(&[
            ("index.html", head),
            ("public/shop.svg", "<svg/>"),
            ("package.json", "{\"name\":\"x\"}"),
        ]);
        assert_eq!(triple(&found), ("My & Shop", "Sells things", "public/shop.svg"));
    }

    #[test]
    fn a_web_manifest_beats_a_page() {
        let manifest = r#"{"name":"Tasks","icons":[{"src":"a.png","sizes":"512x512"},{"src":"b.png","sizes":"192x192"}]}"#;
        let found = identity(&[
            ("public/manifest.json", manifest),
            ("public/a.png", ""),
            ("public/b.png", ""),
            ("public/index.html", "<title>React App</title>"),
        ]);
        assert_eq!(triple(&found), ("Tasks", "-", "public/b.png"));
    }

    #[test]
    fn manifests_and_readme_are_the_last_word() {
        let found = identity(&[
            ("package.json", r#"{"name":"@acme/shop","description":"sells"}"#),
            ("favicon.ico", ""),
        ]);
        assert_eq!(triple(&found), ("shop", "sells", "favicon.ico"));
        let found = identity(&[("pyproject.toml", "[project]\nname='api'\ndescription='serves'\n")]);
        assert_eq!(triple(&found), ("api", "serves", "-"));
        let found = identity(&[("README.md", "# The **Thing** #\n\ntext")]);
        assert_eq!(triple(&found), ("The Thing", "-", "-"));
    }

    #[test]
    fn placeholders_and_strangers_are_no_identity() {
        let page = "<title>{{ title }}</title><link rel=icon href='https://x/i.png'><link rel=icon href='../../etc/passwd'>";
        assert_eq!(triple(&identity(&[("index.html", page)])), ("-", "-", "-"));
        assert_eq!(triple(&identity(&[("package.json", "[1,2"), ("manifest.json", "3")])), ("-", "-", "-"));
    }
}
