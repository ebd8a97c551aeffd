//! Reports survive the wire; what is none is told from them, whatever it is.

use proptest::prelude::*;

use super::*;

fn function(n: u64) -> FunctionReport {
    FunctionReport {
        workers: 3,
        slots: 200_000,
        free: 100_000,
        queued: 100_000,
        service_ms: 100_000,
        ..FunctionReport::deployed(
            FunctionId::from_uuid(Uuid::from_u64_pair(n + 1, u64::MAX)),
            VersionId::from_uuid(Uuid::from_u64_pair(n + 1, 7)),
        )
    }
}

fn report(functions: u64) -> Report {
    Report {
        v: VERSION,
        region: "us-east".parse().expect("valid"),
        epoch: 1_700_000_000_000,
        seq: 2,
        draining: true,
        queued: 3,
        running: 4,
        full: true,
        functions: (0..functions).map(function).collect(),
    }
}

#[test]
fn reports_survive_the_wire() {
    let mut sent = report(3);
    sent.functions[1].deployed = false;
    sent.functions[2] =
        FunctionReport::deployed(sent.functions[2].function, sent.functions[2].version);
    assert_eq!(Report::decode(&sent.encode()), Ok(sent));
}

#[test]
fn ten_thousand_functions_fit() {
    let bytes = report(10_000).encode();
    assert!(bytes.len() < 700 * 1024, "{} bytes", bytes.len());
    assert_eq!(Report::decode(&bytes), Ok(report(10_000)));
}

#[test]
fn hostile_ones_are_told_apart() {
    let check = |bytes: &[u8]| Report::decode(bytes).expect_err("no report");
    assert_eq!(
        check(&Report { v: 9, ..report(0) }.encode()),
        ReportError::Version(9)
    );
    assert_eq!(check(&vec![0; SIZE_LIMIT + 1]), ReportError::TooLarge);
    // An empty function is two bytes: many fit into one message.
    let many = Wire {
        v: u32::from(VERSION),
        region: "us-east".to_owned(),
        functions: vec![FunctionWire::default(); FUNCTIONS_LIMIT + 1],
        ..Wire::default()
    };
    assert_eq!(check(&many.encode_to_vec()), ReportError::TooLarge);
    let malformed = |wire: Wire| {
        matches!(
            Report::decode(&wire.encode_to_vec()),
            Err(ReportError::Malformed(_))
        )
    };
    let wire = Wire {
        v: u32::from(VERSION),
        region: "us-east".to_owned(),
        ..Wire::default()
    };
    assert!(malformed(Wire {
        region: "fd.>".to_owned(),
        ..wire.clone()
    }));
    assert!(malformed(Wire {
        functions: vec![FunctionWire::default()],
        ..wire
    }));
    assert!(matches!(check(b"{\"v\":1}"), ReportError::Malformed(_)));
    assert_eq!(check(b""), ReportError::Version(0));
}

#[test]
fn nobody_has_more_free_slots_than_slots() {
    let mut liar = report(1);
    liar.functions[0].free = u32::MAX;
    let read = Report::decode(&liar.encode()).expect("a report");
    assert_eq!(read.functions[0].free, read.functions[0].slots);
}

proptest! {
    #[test]
    fn any_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..256), at in 0_usize..400, to: u8) {
        let _ = Report::decode(&bytes);
        let mut bent = report(4).encode();
        let at = at % bent.len();
        bent[at] = to;
        let _ = Report::decode(&bent);
    }
}
