//! Django: its manage.py, its WSGI or ASGI module, its migrations.

use crate::model::project::Detection;
use crate::project::detect::line;
use crate::project::detect::python::app;
use crate::project::detect::python::manager::Manifests;
use crate::project::detect::scan::pattern;
use crate::project::detect::view::View;

pattern!(SETTINGS, r#"DJANGO_SETTINGS_MODULE['"]?\s*[,=\]]+\s*['"]([\w.]+)['"]"#);
pattern!(WSGI, r#"(?m)^\s*WSGI_APPLICATION\s*=\s*['"]([\w.]+)\.(\w+)['"]"#);
pattern!(STATIC_ROOT, r"(?m)^\s*STATIC_ROOT\s*=");

/// Fills in how Django starts; false when it is not Django.
pub(crate) fn start(view: &View<'_>, manifests: &Manifests, detection: &mut Detection) -> bool {
    let Some(manage) =
        view.text("manage.py").filter(|text| text.contains("django") || manifests.depends("django"))
    else {
        return false;
    };
    detection.framework = Some("django".to_owned());
    detection.port_hint = Some(8000);
    detection.because.push(view.reason("manage.py", "a Django project"));
    let sources = app::sources(view);
    let settings = SETTINGS.captures(manage).map(|found| found[1].to_owned());
    let stated = sources.iter().find_map(|(file, text)| {
        let found = WSGI.captures(text)?;
        Some(((*file).to_owned(), found[1].to_owned(), found[2].to_owned()))
    });
    let package = settings.as_deref().and_then(|settings| settings.split('.').next()).unwrap_or_default();
    let module = |name: &str| {
        let file = format!("{package}/{name}.py");
        view.has(&file).then(|| (file, format!("{package}.{name}"), "application".to_owned()))
    };
    let server = if manifests.depends("gunicorn") {
        stated.or_else(|| module("wsgi")).map(|(file, module, object)| {
            detection
                .because
                .push(view.reason(&file, format!("the WSGI application is `{module}`; gunicorn serves it")));
            format!("gunicorn {module}:{object}")
        })
    } else if manifests.depends("daphne") {
        asgi(view, module("asgi"), "daphne -b 0.0.0.0 -p $PORT", detection)
    } else if manifests.depends("uvicorn") {
        asgi(view, module("asgi"), "uvicorn --host 0.0.0.0 --port $PORT", detection)
    } else {
        None
    };
    let server = server.unwrap_or_else(|| {
        detection.because.push(
            view.reason("manage.py", "no gunicorn among the dependencies; Django's own server serves it"),
        );
        detection.hot_reload = true;
        "python manage.py runserver 0.0.0.0:$PORT".to_owned()
    });
    detection.start = Some(format!("python manage.py migrate && {server}"));
    let collects = sources.iter().any(|(_, text)| STATIC_ROOT.is_match(text));
    if collects && manifests.depends("whitenoise") {
        detection.build = Some("python manage.py collectstatic --noinput".to_owned());
        detection
            .because
            .push(view.reason("manage.py", "STATIC_ROOT and whitenoise: static files are collected"));
    }
    true
}

fn asgi(
    view: &View<'_>,
    module: Option<(String, String, String)>,
    server: &str,
    detection: &mut Detection,
) -> Option<String> {
    let (file, module, object) = module?;
    let target = line::word(&format!("{module}:{object}"))?;
    detection.because.push(view.reason(&file, format!("the ASGI application is `{module}`")));
    Some(format!("{server} {target}"))
}
