//! Tests of the rewriting: heads in, heads out.

use super::*;

fn view(mount: Mount, host_sent: HostSent) -> View<'static> {
    View { authority: "box:8080", site: "app", mount, upstream: ([172, 18, 0, 2], 3000).into(), host_sent }
}

fn parse(lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':').unwrap();
        headers.append(name.parse::<HeaderName>().unwrap(), value.trim().parse().unwrap());
    }
    headers
}

fn render(headers: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<String> =
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    lines.sort();
    lines
}

fn request_of(lines: &[&str], view: &View<'_>) -> Vec<String> {
    let mut headers = parse(lines);
    request(&mut headers, view, &HeaderValue::from_static("10.0.0.9"));
    render(&headers)
}

fn response_of(lines: &[&str], view: &View<'_>) -> Vec<String> {
    let mut headers = parse(lines);
    response(&mut headers, view).unwrap();
    render(&headers)
}

const OURS: [&str; 5] = [
    "host: box:8080",
    "x-forwarded-for: 10.0.0.9",
    "x-forwarded-host: box:8080",
    "x-forwarded-prefix: /app",
    "x-forwarded-proto: http",
];

#[test]
fn what_a_client_claims_about_itself_is_replaced() {
    let prefix = view(Mount::Prefix, HostSent::AsAsked);
    let spoofed = [
        "Host: box:8080",
        "X-Forwarded-For: 1.2.3.4",
        "X_Forwarded_For: 1.2.3.4",
        "X-Forwarded_Proto: https",
        "X-Forwarded-Prefix: /admin",
        "X-Forwarded-User: root",
        "X-Real-IP: 1.2.3.4",
        "X_Real_Ip: 1.2.3.4",
        "X-Nexus-User: root",
        "Forwarded: for=1.2.3.4",
        "Proxy: http://evil.example",
        "Expect: 100-continue",
    ];
    assert_eq!(request_of(&spoofed, &prefix), OURS);
    let harmless = ["x-real: 1", "xforwarded: 1", "api_key: 1", "proxy-x: 1", "x-forward: 1"];
    assert_eq!(request_of(&harmless, &prefix).len(), OURS.len() + harmless.len());
}

#[test]
fn what_is_about_one_connection_stays_on_it() {
    let prefix = view(Mount::Prefix, HostSent::AsAsked);
    let mut expected = OURS.map(str::to_owned).to_vec();
    expected.extend([
        "authorization: Bearer x".to_owned(),
        "te: trailers".to_owned(),
        "trailer: x".to_owned(),
    ]);
    expected.sort();
    let lines = [
        "Connection: keep-alive, X-Secret, X-Forwarded-For, Authorization, Host",
        "Connection: x-other",
        "X-Secret: 1",
        "X-Other: 1",
        "Keep-Alive: timeout=5",
        "Proxy-Authorization: Basic x",
        "Proxy-Connection: keep-alive",
        "Upgrade: h2c",
        "HTTP2-Settings: x",
        "TE: trailers, deflate;q=0.5",
        "Transfer-Encoding: chunked",
        "Trailer: x",
        "Authorization: Bearer x",
    ];
    assert_eq!(request_of(&lines, &prefix), expected);
}

#[test]
fn our_cookies_stay_here() {
    let root = view(Mount::Root, HostSent::AsAsked);
    let cookies = |lines: &[&str]| {
        let lines = request_of(lines, &root);
        lines.into_iter().filter(|line| line.starts_with("cookie")).collect::<Vec<_>>()
    };
    assert_eq!(cookies(&["Cookie: a=1; nexus_session=x; b=nexus_"]), ["cookie: a=1; b=nexus_"]);
    assert_eq!(cookies(&["Cookie: nexus_last=app"]), [""; 0]);
    assert_eq!(cookies(&["Cookie: a=1;b=2"]), ["cookie: a=1;b=2"]);
    let headers = parse(&["Cookie: xnexus_last=no; a=1", "Cookie: nexus_last=app; b=2"]);
    assert_eq!(cookie(&headers, LAST), Some("app"));
    assert_eq!(cookie(&headers, "nexus_"), None);
}

#[test]
fn a_local_host_comes_with_its_origin() {
    let local = view(Mount::Prefix, HostSent::Local);
    let lines = request_of(
        &["Host: box:8080", "Origin: http://box:8080", "Referer: http://BOX:8080/app/x?y"],
        &local,
    );
    assert!(lines.contains(&"host: localhost:3000".to_owned()), "{lines:?}");
    assert!(lines.contains(&"origin: http://localhost:3000".to_owned()), "{lines:?}");
    assert!(lines.contains(&"referer: http://localhost:3000/x?y".to_owned()), "{lines:?}");
    assert!(lines.contains(&"x-forwarded-host: box:8080".to_owned()), "{lines:?}");
    for foreign in ["http://evil.example", "http://box:80801", "http://box:8080.evil.example", "null"] {
        let lines = request_of(&[&format!("Origin: {foreign}")], &local);
        assert!(lines.contains(&format!("origin: {foreign}")), "{lines:?}");
    }
}

#[test]
fn redirects_get_the_prefix_back() {
    let prefix = view(Mount::Prefix, HostSent::AsAsked);
    for (sent, received) in [
        ("/login?next=/", "/app/login?next=/"),
        ("/", "/app/"),
        ("/app/x", "/app/x"),
        ("/app", "/app"),
        ("/application", "/app/application"),
        ("x/y", "x/y"),
        ("?a=1", "?a=1"),
        ("#top", "#top"),
        ("../x", "../x"),
        ("http://box:8080/x", "/app/x"),
        ("http://BOX:8080/app/x", "/app/x"),
        ("http://localhost:3000/x", "/app/x"),
        ("http://172.18.0.2:3000", "/app/"),
        ("https://127.0.0.1:3000/x", "/app/x"),
        ("//localhost:3000/x", "/app/x"),
        ("http://localhost:3000//evil.example", "/app/evil.example"),
        ("//evil.example/x", "//evil.example/x"),
        ("http://localhost:4000/x", "http://localhost:4000/x"),
        ("https://accounts.example/login", "https://accounts.example/login"),
        ("http://box:8080@evil.example/x", "http://box:8080@evil.example/x"),
        ("/\\evil.example", "/app/%5Cevil.example"),
        ("mailto:x@example.org", "mailto:x@example.org"),
    ] {
        assert_eq!(
            response_of(&[&format!("Location: {sent}")], &prefix),
            [format!("location: {received}")],
            "{sent}"
        );
    }
    let root = view(Mount::Root, HostSent::AsAsked);
    assert_eq!(response_of(&["Location: /x"], &root), ["location: /x"]);
    let local = view(Mount::Root, HostSent::Local);
    assert_eq!(response_of(&["Location: http://localhost:3000/x"], &local), ["location: /x"]);
}

#[test]
fn cookies_are_confined_to_the_prefix() {
    let prefix = view(Mount::Prefix, HostSent::AsAsked);
    for (sent, received) in [
        ("a=1; Path=/; HttpOnly", "a=1; Path=/app; HttpOnly"),
        ("a=1; path=/x; Secure", "a=1; Path=/app/x; Secure"),
        ("a=1; Path=/app/x", "a=1; Path=/app/x"),
        ("a=1; Path=/app", "a=1; Path=/app"),
        ("a=1; Path=", "a=1; Path=/app"),
        ("a=1; Path=x", "a=1; Path=/app"),
        ("a=1", "a=1"),
        ("a=1; Domain=box; Path=/blog", "a=1; Path=/app/blog"),
        ("a=1; Path=/; Path=/blog", "a=1; Path=/app; Path=/app/blog"),
        ("__Host-a=1; Path=/; Secure", "__Host-a=1; Path=/; Secure"),
    ] {
        assert_eq!(
            response_of(&[&format!("Set-Cookie: {sent}")], &prefix),
            [format!("set-cookie: {received}")]
        );
    }
    assert!(response_of(&["Set-Cookie: nexus_last=evil; Path=/"], &prefix).is_empty());
    let both = response_of(&["Set-Cookie: a=1; Path=/", "Set-Cookie: b=2; Path=/"], &prefix);
    assert_eq!(both, ["set-cookie: a=1; Path=/app", "set-cookie: b=2; Path=/app"]);
    let root = view(Mount::Root, HostSent::AsAsked);
    assert_eq!(
        response_of(&["Set-Cookie: a=1; Path=/x; Domain=nexus.lan"], &root),
        ["set-cookie: a=1; Path=/x"]
    );
}

#[test]
fn a_site_under_a_prefix_does_not_speak_for_the_host() {
    let lines = [
        "Strict-Transport-Security: max-age=1",
        "Clear-Site-Data: \"*\"",
        "Referrer-Policy: no-referrer",
        "ETag: x",
    ];
    let prefix = view(Mount::Prefix, HostSent::AsAsked);
    assert_eq!(response_of(&lines, &prefix), ["etag: x", "referrer-policy: same-origin"]);
    assert_eq!(response_of(&lines, &view(Mount::Root, HostSent::AsAsked)).len(), lines.len());
}

#[test]
fn framing_is_never_taken_over() {
    let prefix = view(Mount::Prefix, HostSent::AsAsked);
    assert!(response_of(&["Transfer-Encoding: chunked", "Content-Length: 3"], &prefix).is_empty());
    for codings in [
        &["Transfer-Encoding: gzip, chunked"][..],
        &["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
    ] {
        assert_eq!(response(&mut parse(codings), &prefix), Err(BadFraming));
    }
}
