//! Tokens and the claim over a real database.

use super::*;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn tokens() -> (tempfile::TempDir, Tokens) {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(&home.path().join("nexus.db")).unwrap();
    let tokens = Tokens::new(store, home.path().join("claim"));
    (home, tokens)
}

#[tokio::test]
async fn a_token_works_until_it_is_revoked() {
    let (_home, tokens) = tokens();
    let (secret, row) = tokens.create("laptop", "write", Some(30)).await.unwrap();
    let principal = tokens.check(Some(secret.reveal()), HERE).await.unwrap();
    assert!(principal.may(Scope::Read) && principal.may(Scope::Write) && !principal.may(Scope::Admin));
    assert!(tokens.list().await.unwrap()[0].last_used_at.is_some());
    tokens.revoke(&row.id).await.unwrap();
    assert_eq!(tokens.check(Some(secret.reveal()), HERE).await.unwrap_err().status.as_u16(), 401);
    assert!(matches!(tokens.revoke(&row.id).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn the_same_id_with_another_secret_and_an_expired_token_are_wrong() {
    let (_home, tokens) = tokens();
    let (secret, mut row) = tokens.create("a", "admin", None).await.unwrap();
    tokens.revoke(&row.id).await.unwrap();
    row.hash = [0; 32];
    tokens.store.add_token(&row).await.unwrap();
    assert!(tokens.check(Some(secret.reveal()), HERE).await.is_err());
    tokens.revoke(&row.id).await.unwrap();
    row.hash = secret.digest();
    row.expires_at = Some(row.created_at);
    tokens.store.add_token(&row).await.unwrap();
    assert!(tokens.check(Some(secret.reveal()), HERE).await.is_err());
    tokens.revoke(&row.id).await.unwrap();
    row.expires_at = None;
    row.scope = "root".to_owned();
    tokens.store.add_token(&row).await.unwrap();
    assert!(tokens.check(Some(secret.reveal()), HERE).await.is_err(), "an unknown scope grants nothing");
}

#[tokio::test]
async fn wrong_tokens_are_limited_and_a_right_one_still_passes() {
    let (_home, tokens) = tokens();
    let (right, _) = tokens.create("a", "read", None).await.unwrap();
    let wrong = Secret::token();
    for _ in 0..10 {
        assert_eq!(tokens.check(Some(wrong.reveal()), HERE).await.unwrap_err().status.as_u16(), 401);
    }
    let limited = tokens.check(Some("nonsense"), HERE).await.unwrap_err();
    assert_eq!(limited.status.as_u16(), 429);
    assert!(limited.retry_after_s.is_some_and(|seconds| (1..=61).contains(&seconds)));
    assert!(tokens.check(Some(right.reveal()), HERE).await.is_ok());
    assert_eq!(tokens.check(Some("x"), "192.0.2.1".parse().unwrap()).await.unwrap_err().status.as_u16(), 401);
}

#[tokio::test]
async fn an_open_stream_ends_with_its_token() {
    let (_home, tokens) = tokens();
    let tokens = Arc::new(tokens);
    let (secret, row) = tokens.create("a", "read", None).await.unwrap();
    let (_, other) = tokens.create("b", "read", None).await.unwrap();
    let principal = tokens.check(Some(secret.reveal()), HERE).await.unwrap();
    let mut ended = Box::pin(tokens.ended(principal));
    assert!(tokio::time::timeout(Duration::from_millis(20), &mut ended).await.is_err());
    tokens.revoke(&other.id).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(20), &mut ended).await.is_err());
    tokens.revoke(&row.id).await.unwrap();
    tokio::time::timeout(Duration::from_secs(1), ended).await.unwrap();
}

#[tokio::test]
async fn the_claim_gives_one_admin_token_and_its_file_is_private() {
    let (home, tokens) = tokens();
    tokens.ensure_claim().await.unwrap();
    let code = tokens.claim_code().await.unwrap().unwrap();
    let file = home.path().join("claim");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    tokens.ensure_claim().await.unwrap();
    assert!(
        tokens.claim_code().await.unwrap().is_some_and(|again| again == code),
        "a restart keeps the link"
    );

    assert!(tokens.use_claim(Secret::code().reveal(), HERE).await.is_err());
    let secret = tokens.use_claim(code.reveal(), HERE).await.unwrap();
    assert!(tokens.check(Some(secret.reveal()), HERE).await.unwrap().may(Scope::Admin));
    assert_eq!(tokens.use_claim(code.reveal(), HERE).await.err().unwrap().code, "CLAIM_NOT_FOUND");
    assert!(!file.exists());
    tokens.ensure_claim().await.unwrap();
    assert!(tokens.claim_code().await.unwrap().is_none(), "a claimed node makes no new link by itself");

    let second = tokens.new_claim().await.unwrap();
    assert!(tokens.use_claim(second.reveal(), HERE).await.is_ok());
}

#[tokio::test]
async fn a_lost_claim_file_means_a_new_code() {
    let (home, tokens) = tokens();
    tokens.ensure_claim().await.unwrap();
    let old = tokens.claim_code().await.unwrap().unwrap();
    std::fs::remove_file(home.path().join("claim")).unwrap();
    tokens.ensure_claim().await.unwrap();
    assert!(tokens.claim_code().await.unwrap().is_some_and(|new| new != old));
    assert!(tokens.check_claim(old.reveal(), HERE).await.is_err());
}

#[tokio::test]
async fn nothing_in_the_database_is_a_usable_secret() {
    let (home, tokens) = tokens();
    tokens.ensure_claim().await.unwrap();
    let code = tokens.claim_code().await.unwrap().unwrap();
    let (secret, _) = tokens.create("a", "admin", None).await.unwrap();
    let mut bytes = Vec::new();
    for file in ["nexus.db", "nexus.db-wal"] {
        bytes.extend(std::fs::read(home.path().join(file)).unwrap_or_default());
    }
    for canary in [code.reveal(), secret.reveal(), &secret.reveal()[14..40]] {
        assert!(!bytes.windows(canary.len()).any(|window| window == canary.as_bytes()));
    }
}

#[tokio::test]
async fn labels_and_scopes_are_checked() {
    let (_home, tokens) = tokens();
    for (label, scope, days) in
        [("", "read", None), ("a\n", "read", None), ("a", "root", None), ("a", "read", Some(0))]
    {
        assert!(
            matches!(tokens.create(label, scope, days).await, Err(Error::Invalid { .. })),
            "{label:?} {scope}"
        );
    }
}
