//! The codec's laws, and what hostile bytes do to it.

use proptest::prelude::*;

use super::*;
use crate::delta::Base;
use crate::delta::Span;
use crate::entry::Digest;
use crate::message::Order;
use crate::message::Part;
use crate::path::RelPath;
use crate::report::Listener;
use crate::report::Phase;

fn path() -> impl Strategy<Value = RelPath> {
    prop::collection::vec(any::<u8>(), 1..60)
        .prop_filter_map("not a path", |bytes| RelPath::parse(&bytes).ok())
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest)
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..3000)
}

fn base() -> impl Strategy<Value = Base> {
    (path(), digest()).prop_map(|(path, digest)| Base { path, digest })
}

fn span() -> impl Strategy<Value = Span> {
    (any::<u64>(), any::<u64>()).prop_map(|(from, length)| Span { from, length })
}

fn part() -> impl Strategy<Value = Part> {
    let differing = (base(), span(), bytes(), any::<u64>());
    prop_oneof![
        bytes().prop_map(Part::Sent),
        (base(), span()).prop_map(|(base, span)| Part::Same { base, span }),
        differing.prop_map(|(base, span, delta, size)| Part::Differing { base, span, delta, size }),
    ]
}

fn to_side() -> impl Strategy<Value = ToSide> {
    prop_oneof![
        digest().prop_map(|have| ToSide::Attach { have }),
        any::<u64>().prop_map(|token| ToSide::Look { token }),
        (path(), digest(), any::<u64>(), bytes()).prop_map(|(path, digest, offset, like)| ToSide::Read {
            path,
            digest,
            offset,
            like
        }),
        (path(), digest(), any::<u64>()).prop_map(|(path, digest, from)| ToSide::Outline {
            path,
            digest,
            from
        }),
        (base(), span()).prop_map(|(base, span)| ToSide::Sign { base, span }),
        (digest(), any::<u64>(), part(), any::<bool>())
            .prop_map(|(digest, offset, part, last)| ToSide::Store { digest, offset, part, last }),
        digest().prop_map(|digest| ToSide::Drop { digest }),
        (any::<u64>(), prop::collection::vec(path(), 0..5)).prop_map(|(batch, paths)| {
            let order = |path| Order { path: Some(path), expected: None, new: None };
            ToSide::Apply { batch, orders: paths.into_iter().map(order).collect() }
        }),
    ]
}

fn to_agent() -> impl Strategy<Value = ToAgent> {
    prop_oneof![
        Just(ToAgent::Settled),
        to_side().prop_map(ToAgent::Side),
        (any::<u64>(), path())
            .prop_map(|(number, path)| ToAgent::Ask { number, question: Question::Why { path } }),
    ]
}

fn frames() -> impl Strategy<Value = Vec<Frame<ToAgent>>> {
    let frame = prop_oneof![
        to_agent().prop_map(Frame::Message),
        (any::<u16>(), "[ -~]{0,40}")
            .prop_map(|(protocol, version)| Frame::Hello(Hello { protocol, version })),
    ];
    prop::collection::vec(frame, 0..8)
}

fn encode(frames: &[Frame<ToAgent>]) -> BytesMut {
    let mut buffer = BytesMut::new();
    for frame in frames {
        match frame {
            Frame::Hello(hello) => put_hello(&mut buffer, hello),
            Frame::Message(message) => put_message(&mut buffer, message),
        }
    }
    buffer
}

/// Feeds `bytes` in pieces of `step` and returns what came out.
fn read(bytes: &[u8], step: usize) -> Result<Vec<Frame<ToAgent>>, WireError> {
    let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
    for piece in bytes.chunks(step) {
        buffer.extend_from_slice(piece);
        while let Some(frame) = take(&mut buffer)? {
            found.push(frame);
        }
    }
    Ok(found)
}

proptest! {
    #[test]
    fn what_is_said_is_heard_however_it_is_cut(frames in frames(), step in 1_usize..500) {
        prop_assert_eq!(read(&encode(&frames), step).unwrap(), frames);
    }

    #[test]
    fn one_flipped_bit_is_noticed(frames in frames(), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let mut bytes = encode(&frames);
        prop_assume!(!bytes.is_empty());
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        // Either an error, or a length that waits for more; never other content than was sent.
        if let Ok(found) = read(&bytes, 4096) {
            prop_assert!(found.len() < frames.len());
            prop_assert_eq!(&found[..], &frames[..found.len()]);
        }
    }

    #[test]
    fn hostile_bytes_end_the_session_and_nothing_else(bytes in prop::collection::vec(any::<u8>(), 0..4000)) {
        drop(read(&bytes, 512));
        drop(decode::<ToAgent>(1, Bytes::from(bytes.clone())));
        drop(decode::<ToNode>(1, Bytes::from(bytes)));
    }
}

#[test]
fn a_path_that_leaves_its_root_does_not_decode() {
    for bad in [&b"../x"[..], b"/etc/passwd", b"a/../../b", b"", b"a\0"] {
        // A question (the fourth thing a node can say) of the fourth kind, about a path.
        let mut body = vec![3, 0, 3, u8::try_from(bad.len()).unwrap()];
        body.extend_from_slice(bad);
        let error = decode::<ToAgent>(1, body.into()).unwrap_err();
        assert!(matches!(error, WireError::Undecodable(_)), "{error}");
    }
    let honest = decode::<ToAgent>(1, Bytes::from_static(&[3, 0, 3, 1, b'x'])).unwrap();
    let question = Question::Why { path: RelPath::parse(b"x").unwrap() };
    assert_eq!(honest, Frame::Message(ToAgent::Ask { number: 0, question }));
}

#[test]
fn a_frame_that_claims_too_much_is_refused_before_it_is_read() {
    let mut bytes = BytesMut::new();
    bytes.put_u32_le(u32::MAX);
    bytes.put_u32_le(0);
    bytes.put_u8(1);
    assert!(matches!(take::<ToAgent>(&mut bytes), Err(WireError::Large { .. })));
    // A million entries claimed in a body of ten bytes: nothing is set aside for them.
    let error =
        decode::<ToNode>(1, Bytes::from_static(&[1, 0xff, 0xff, 0xff, 0x7f, 1, b'x', 0])).unwrap_err();
    assert!(matches!(error, WireError::Undecodable(_)), "{error}");
}

#[test]
fn other_versions_are_told_apart_and_engine_errors_are_shown() {
    let other = Hello { protocol: PROTOCOL + 1, version: "9.9".to_owned() };
    assert_eq!(
        other.check().unwrap_err().to_string(),
        format!("the other end (version 9.9) speaks protocol {}, this one needs {PROTOCOL}", PROTOCOL + 1)
    );
    let text = b"OCI runtime exec failed: exec: \"/nexus/nexus-agent\": no such file\r\n";
    let error = read(text, 4096).unwrap_err();
    assert!(error.to_string().contains("OCI runtime exec failed"), "{error}");
}

#[tokio::test]
async fn a_reader_waits_for_whole_frames_and_says_when_the_stream_ends() {
    use tokio::io::AsyncWriteExt as _;

    let (mut near, far) = tokio::io::duplex(16);
    let mut reader = FrameReader::new(far);
    let report = Report {
        phase: Phase::Ready,
        listeners: vec![Listener { port: 3000, address: [0, 0, 0, 0].into(), loopback: false }],
        ..Report::default()
    };
    let mut bytes = BytesMut::new();
    put_hello(&mut bytes, &Hello::ours());
    put_message(&mut bytes, &ToNode::Report(Box::new(report.clone())));
    let write = async {
        near.write_all(&bytes).await.unwrap();
        drop(near);
    };
    let read = async {
        reader.hello().await.unwrap();
        assert_eq!(reader.next::<ToNode>().await.unwrap(), Frame::Message(ToNode::Report(Box::new(report))));
        assert!(matches!(reader.next::<ToNode>().await, Err(WireError::Closed)));
    };
    tokio::join!(write, read);
}
