//! Chooses the image a project runs in: what the user names, else the official one, else ours built from Debian
//! packages.

use std::collections::BTreeMap;

use super::context::Context;
use crate::engine;
use crate::engine::ProgressSink;
use crate::model::project::Detection;
use crate::model::project::Kind;
use crate::model::project::Overrides;

/// What may be tried, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidates {
    /// What the user names; nothing else will do then.
    named: Option<String>,
    /// The official image, when a registry answers.
    official: Option<String>,
    /// Ours: the name of a runtime image under `images/`.
    own: Option<&'static str>,
}

/// An image that is there, and what its owner should know about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its reference; empty for projects that bring their own.
    pub reference: String,
    /// Why it is not the one the project asks for.
    pub notice: Option<String>,
}

/// The reference of one of our runtime images.
pub fn own_reference(name: &str) -> String {
    format!("nexus/runtime-{name}:{}", env!("CARGO_PKG_VERSION"))
}

/// Whether it is one of our runtime images: there, fresh volumes belong to the user that programs run as.
pub fn is_own(reference: &str) -> bool {
    reference.starts_with("nexus/runtime-")
}

fn candidates(detection: &Detection, overrides: &Overrides) -> Candidates {
    let built = detection.install.is_some() || detection.build.is_some();
    let tag =
        |default: &str| detection.version.as_ref().map_or(default, |version| version.tag.as_str()).to_owned();
    let bun = detection.package_manager.as_deref() == Some("bun");
    let (official, own) = match detection.kind {
        Kind::Node if bun => (Some("oven/bun:1-slim".to_owned()), Some("node")),
        Kind::Node => (Some(format!("node:{}-slim", tag("22"))), Some("node")),
        // A site that is built first needs the tools of its package manager; one that is not needs nothing.
        Kind::Static if built && bun => (Some("oven/bun:1-slim".to_owned()), Some("node")),
        Kind::Static if built => (Some(format!("node:{}-slim", tag("22"))), Some("node")),
        Kind::Static => (None, Some("static")),
        Kind::Python => (Some(format!("python:{}-slim", tag("3.13"))), Some("python")),
        Kind::Php => (Some(format!("php:{}-cli", tag("8.4"))), Some("php")),
        Kind::Go => (Some(format!("golang:{}", tag("1.24"))), Some("go")),
        Kind::Ruby => (Some(format!("ruby:{}-slim", tag("3.3"))), Some("ruby")),
        Kind::Dockerfile | Kind::Compose | Kind::Unknown => (None, None),
    };
    Candidates { named: overrides.image.clone(), official, own }
}

/// Finds, pulls or builds the image.
///
/// # Errors
/// When none of the candidates can be had.
pub async fn resolve(
    context: &Context,
    detection: &Detection,
    overrides: &Overrides,
    progress: &ProgressSink,
) -> Result<Image, engine::Error> {
    let candidates = candidates(detection, overrides);
    if let Some(named) = candidates.named {
        if context.engine.image(&named).await?.is_none() {
            context.engine.pull(&named, progress.clone()).await?;
        }
        return Ok(Image { reference: named, notice: None });
    }
    if let Some(official) = &candidates.official
        && obtain(context, official, progress).await?
    {
        return Ok(Image { reference: official.clone(), notice: None });
    }
    let Some(own) = candidates.own else { return Ok(Image { reference: String::new(), notice: None }) };
    let reference = own_reference(own);
    if context.engine.image(&reference).await?.is_none() {
        let _permit = context.builds.acquire().await;
        if context.engine.image(&reference).await?.is_none() {
            progress
                .try_send(engine::Progress { message: format!("building the runtime image for {own}") })
                .ok();
            context.engine.build(&build(context, own, &reference), progress.clone()).await?;
        }
    }
    let notice = candidates.official.zip(detection.version.as_ref()).map(|(official, version)| {
        format!(
            "asks for {} {} ({}); `{official}` could not be pulled, so it runs on the version Debian packages",
            detection.kind, version.stated, version.file
        )
    });
    Ok(Image { reference, notice })
}

fn build(context: &Context, own: &str, reference: &str) -> engine::Build {
    engine::Build {
        image: reference.to_owned(),
        context: context.settings.images.clone(),
        dockerfile: "runtime.Dockerfile".into(),
        target: Some(own.to_owned()),
        args: BTreeMap::new(),
        labels: BTreeMap::from([("nexus.image".to_owned(), "runtime".to_owned())]),
        ca_bundle: context.settings.build_ca_bundle.clone(),
    }
}

/// Whether the image is there, now or after a pull.
async fn obtain(context: &Context, image: &str, progress: &ProgressSink) -> Result<bool, engine::Error> {
    if context.engine.image(image).await?.is_some() {
        return Ok(true);
    }
    if !context.settings.registry || context.known_absent(image) {
        return Ok(false);
    }
    match context.engine.pull(image, progress.clone()).await {
        Ok(()) => Ok(true),
        Err(error @ (engine::Error::Unreachable { .. } | engine::Error::DiskFull { .. })) => Err(error),
        Err(error) => {
            tracing::info!(image, error = %error, "an official image cannot be had, ours is used");
            context.note_absent(image);
            Ok(false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::project::Version;

    fn detection(kind: Kind, build: Option<&str>, version: Option<&str>) -> Detection {
        let version = version.map(|tag| Version {
            stated: format!(">={tag}"),
            tag: tag.to_owned(),
            file: "package.json".to_owned(),
        });
        Detection { build: build.map(str::to_owned), version, ..Detection::of(kind) }
    }

    fn of(detection: &Detection) -> (Option<String>, Option<&'static str>) {
        let found = candidates(detection, &Overrides::default());
        (found.official, found.own)
    }

    #[test]
    fn the_official_image_honours_the_pinned_version() {
        assert_eq!(
            of(&detection(Kind::Node, None, Some("18"))),
            (Some("node:18-slim".to_owned()), Some("node"))
        );
        assert_eq!(
            of(&detection(Kind::Python, None, None)),
            (Some("python:3.13-slim".to_owned()), Some("python"))
        );
    }

    #[test]
    fn a_site_needs_a_runtime_only_to_be_built() {
        assert_eq!(of(&detection(Kind::Static, None, None)), (None, Some("static")));
        assert_eq!(of(&detection(Kind::Static, Some("npm run build"), None)).1, Some("node"));
    }

    #[test]
    fn what_brings_its_own_image_gets_none() {
        assert_eq!(of(&detection(Kind::Dockerfile, None, None)), (None, None));
    }
}
