use std::fs::{self, OpenOptions};
use std::io::Write as _;

use tempfile::TempDir;

use super::*;

const CHAIN: ChainId = ChainId(1_866_392);

fn hash(height: u64, of: u8) -> Hash {
    let mut hash = [of; 32];
    hash[..8].copy_from_slice(&height.to_le_bytes());
    Hash(hash)
}

fn record(height: u64) -> Record {
    Record {
        height,
        hash: hash(height, 1),
        parent: hash(height - 1, 1),
        tx_root: hash(height, 2),
        time: Timestamp::from_millis(1_700_000_000_000 + height),
    }
}

fn lines(heights: impl Iterator<Item = u64>) -> String {
    let mut out = Vec::new();
    for height in heights {
        JsonFile::write(&record(height), &mut out).unwrap();
    }
    String::from_utf8(out).unwrap()
}

struct Case {
    dir: TempDir,
    path: PathBuf,
}

impl Case {
    fn json(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blocks.jsonl");
        fs::write(&path, text).unwrap();
        Self { dir, path }
    }

    fn binary(heights: impl Iterator<Item = u64>) -> Self {
        let mut case = Self::json(&lines(heights));
        let path = case.dir.path().join("blocks.bin");
        convert(&case.path, &path, Some(Form::Binary), Some(CHAIN), false).unwrap();
        case.path = path;
        case
    }

    fn open(&self, follow: bool) -> FileSource {
        FileSource::open(FileConfig { path: self.path.clone(), chain: Some(CHAIN), follow }).unwrap()
    }

    fn append(&self, bytes: &[u8]) {
        OpenOptions::new().append(true).open(&self.path).unwrap().write_all(bytes).unwrap();
    }
}

fn read(source: &mut FileSource, max: usize) -> Result<(Hash, Columns), SourceError> {
    let mut out = Columns::default();
    source.read(CHAIN, max, &mut out).map(|parent| (parent, out))
}

fn expect(source: &mut FileSource, heights: std::ops::Range<u64>) {
    let (parent, out) = read(source, (heights.end - heights.start) as usize).unwrap();
    let mut expected = Columns::default();
    for height in heights.clone() {
        let record = record(height);
        expected.push(record.hash, record.tx_root, record.time);
    }
    assert_eq!(out, expected, "{heights:?}");
    assert_eq!(parent, hash(heights.start - 1, 1));
}

fn fatal(result: Result<impl std::fmt::Debug, SourceError>) -> String {
    match result {
        Err(SourceError::Fatal(text)) => text,
        other => panic!("expected a lasting error, got {other:?}"),
    }
}

#[test]
fn both_forms_are_read_from_any_height() {
    let (first, end) = (5, 3_005);
    for case in [Case::json(&lines(first..end)), Case::binary(first..end)] {
        let mut source = case.open(false);
        assert_eq!(source.chains(), [CHAIN]);
        for start in (first..end).step_by(97).chain([end - 1, first, first + 1]) {
            let parent = (start > first).then(|| hash(start - 1, 1));
            source.resume(CHAIN, Height(start), parent).unwrap();
            expect(&mut source, start..end.min(start + 10));
        }
        assert_eq!(source.tip_watch().get(), Some(Height(end - 1)));
        // At the end there is nothing, and that is no error.
        source.resume(CHAIN, Height(end), Some(hash(end - 1, 1))).unwrap();
        assert!(read(&mut source, 10).unwrap().1.is_empty());
    }
}

#[test]
fn a_file_that_grows_is_followed_and_its_incomplete_end_waited_for() {
    let mut bytes = Vec::new();
    BinaryFile::write(&record(12), &mut bytes).unwrap();
    for (case, more) in
        [(Case::json(&lines(1..11)), lines(12..13).into_bytes()), (Case::binary(1..11), bytes)]
    {
        let mut source = case.open(true);
        source.resume(CHAIN, Height(9), Some(hash(8, 1))).unwrap();
        expect(&mut source, 9..11);
        assert!(read(&mut source, 10).unwrap().1.is_empty());
        let mut eleven = Vec::new();
        match source.blocks {
            BlockFile::Json(_) => JsonFile::write(&record(11), &mut eleven).unwrap(),
            BlockFile::Binary(_) => BinaryFile::write(&record(11), &mut eleven).unwrap(),
        }
        let (start, rest) = eleven.split_at(30);
        case.append(start);
        assert!(read(&mut source, 10).unwrap().1.is_empty());
        case.append(rest);
        case.append(&more);
        expect(&mut source, 11..13);
        assert_eq!(source.tip_watch().get(), Some(Height(12)));
    }
}

#[test]
fn an_empty_file_is_followed_from_its_first_line() {
    let case = Case::json("");
    assert!(fatal(case.open(false).resume(CHAIN, Height(1), None)).contains("holds no block"));
    let mut source = case.open(true);
    assert!(matches!(source.resume(CHAIN, Height(2), Some(hash(1, 1))), Err(SourceError::Later(_))));
    source.resume(CHAIN, Height(1), None).unwrap();
    assert!(read(&mut source, 10).unwrap().1.is_empty());
    case.append(lines(1..4).as_bytes());
    expect(&mut source, 1..4);
}

#[test]
fn a_file_that_became_shorter_is_noticed() {
    for case in [Case::json(&lines(1..11)), Case::binary(1..11)] {
        let mut source = case.open(true);
        source.resume(CHAIN, Height(1), None).unwrap();
        expect(&mut source, 1..11);
        OpenOptions::new().write(true).open(&case.path).unwrap().set_len(100).unwrap();
        assert!(fatal(read(&mut source, 10)).contains("became shorter"));
    }
}

#[test]
fn what_the_main_chain_has_must_be_what_the_file_has() {
    for case in [Case::json(&lines(5..100)), Case::binary(5..100)] {
        for next in [5, 6, 50, 100] {
            let theirs = hash(next - 1, 9);
            match case.open(false).resume(CHAIN, Height(next), Some(theirs)) {
                Err(SourceError::Fork { chain, height, ours, theirs: reported }) => {
                    assert_eq!((chain, height), (CHAIN, Height(next - 1)));
                    assert_eq!((ours, reported), (hash(next - 1, 1), theirs));
                }
                other => panic!("{next}: {other:?}"),
            }
        }
        let mut source = case.open(false);
        let text = fatal(source.resume(CHAIN, Height(4), None));
        assert!(text.contains("begins at height 5") && text.contains("wants 4"), "{text}");
        let text = fatal(source.resume(CHAIN, Height(101), Some(hash(100, 1))));
        assert!(text.contains("ends at height 99") && text.contains("has 100"), "{text}");
        let later = case.open(true).resume(CHAIN, Height(101), Some(hash(100, 1)));
        assert!(matches!(later, Err(SourceError::Later(_))), "{later:?}");
    }
}

#[test]
fn every_fault_of_a_line_is_told_with_file_line_and_field() {
    let good: Vec<String> = lines(1..200).lines().map(str::to_owned).collect();
    let replace = |from: &str, to: &str| good[99].replace(from, to);
    let other = hash(7, 7).to_string();
    for (line, words) in [
        (replace("\"height\":100", "\"height\":101"), "field height: 101; expected 100"),
        (replace("\"height\":100", "\"height\":\"100\""), "field height: \"100\"; expected a number"),
        (
            replace(&hash(99, 1).to_string(), &other),
            &*format!("field parent: {other}; expected {}", hash(99, 1)),
        ),
        (replace("\"tx_root\":\"0x", "\"tx_root\":\""), "field tx_root: \"64"),
        (replace("\"time\":1", "\"time\":-1"), "field time: -1"),
        (replace("\"time\"", "\"thyme\""), "field time is missing"),
        (replace("{", "{\"note\":1,"), "field \"note\" is unknown"),
        (String::new(), "is empty"),
        ("[]".to_owned(), "not a JSON object"),
        ("x".repeat(5_000), "longer than 4096 bytes"),
    ] {
        let mut text = good.clone();
        text[99] = line;
        let case = Case::json(&format!("{}\n", text.join("\n")));
        let mut source = case.open(false);
        source.resume(CHAIN, Height(1), None).unwrap();
        // The good lines before come first.
        let (_, out) = read(&mut source, 1_000).unwrap();
        assert_eq!(out.len(), 99);
        let text = fatal(read(&mut source, 10));
        let start = format!("{}: line 100: ", case.path.display());
        assert!(text.starts_with(&start) && text.contains(words), "{text}\nexpected: {words}");
    }
}

#[test]
fn every_flipped_byte_of_the_binary_form_is_noticed() {
    let case = Case::binary(5..9);
    let good = fs::read(&case.path).unwrap();
    assert_eq!(good.len(), 64 + 4 * 80);
    // The magic aside: without it the file is read as JSON lines, and refused as such.
    for position in 0..good.len() {
        let mut bytes = good.clone();
        bytes[position] ^= 0x10;
        fs::write(&case.path, &bytes).unwrap();
        let config = FileConfig { path: case.path.clone(), chain: Some(CHAIN), follow: false };
        let result = FileSource::open(config).map_err(|error| error.to_string()).and_then(|mut source| {
            let mut read = || {
                source.resume(CHAIN, Height(5), None)?;
                source.read(CHAIN, 10, &mut Columns::default())?;
                source.read(CHAIN, 10, &mut Columns::default())
            };
            read().map_err(|error| error.to_string())
        });
        let text = result.expect_err(&format!("byte {position} flipped"));
        let record = position.saturating_sub(64) / 80 + 1;
        let place = match position {
            0..8 => "line 1".to_owned(),
            8..64 => "header field".to_owned(),
            _ => format!("record {record} (height {}, at byte {})", record + 4, 64 + (record - 1) * 80),
        };
        assert!(text.contains(&place), "byte {position}: {text}\nexpected: {place}");
    }
    fs::write(&case.path, &good[..good.len() - 1]).unwrap();
    let mut source = case.open(false);
    source.resume(CHAIN, Height(5), None).unwrap();
    expect(&mut source, 5..8);
    assert!(fatal(read(&mut source, 10)).contains("it was cut"));
}

#[test]
fn converting_there_and_back_gives_the_same_bytes() {
    let case = Case::json(&lines(7..500));
    let (binary, back) = (case.dir.path().join("b"), case.dir.path().join("c"));
    let converted = convert(&case.path, &binary, None, Some(CHAIN), false).unwrap();
    let expected = Converted { form: Form::Binary, blocks: 493, first: Height(7), last: Height(499) };
    assert_eq!(converted, expected);
    convert(&binary, &back, None, None, false).unwrap();
    assert_eq!(fs::read(&case.path).unwrap(), fs::read(&back).unwrap());

    assert!(matches!(convert(&binary, &back, None, None, false), Err(ConvertError::Exists(_))));
    convert(&binary, &back, None, None, true).unwrap();
    let new = case.dir.path().join("d");
    assert!(matches!(convert(&case.path, &new, None, None, false), Err(ConvertError::WhoseBlocks(_))));
    assert!(matches!(
        convert(&binary, &new, None, Some(ChainId(1)), false),
        Err(ConvertError::OtherChain { .. })
    ));
    assert!(!new.exists());
}

#[test]
fn a_conversion_that_fails_leaves_nothing_behind() {
    let case = Case::json(&lines((1..100).chain(101..110)));
    let names = || fs::read_dir(case.dir.path()).unwrap().count();
    let new = case.dir.path().join("new");
    let error = convert(&case.path, &new, None, Some(CHAIN), false).unwrap_err();
    assert!(error.to_string().contains("line 100"), "{error}");
    assert!(matches!(convert(&case.path, &new, None, None, false), Err(ConvertError::WhoseBlocks(_))));
    assert_eq!(names(), 1);

    // At the very end, when all is written.
    fs::write(&case.path, lines(1..100)).unwrap();
    fs::create_dir(&new).unwrap();
    let error = convert(&case.path, &new, None, Some(CHAIN), true).unwrap_err();
    assert!(matches!(error, ConvertError::File(FileError::Io { .. })), "{error}");
    assert_eq!(names(), 2);
}

#[test]
fn a_conversion_overwrites_no_file_that_has_the_name_of_its_unfinished_one() {
    let case = Case::json(&lines(1..10));
    let (new, taken) = (case.dir.path().join("new"), case.dir.path().join("new.partial"));
    fs::rename(&case.path, &taken).unwrap();
    for force in [false, true] {
        // Even the very file that is read.
        let error = convert(&taken, &new, None, Some(CHAIN), force).unwrap_err();
        assert!(matches!(&error, ConvertError::Partial(path) if *path == taken), "{error}");
    }
    assert_eq!(fs::read_to_string(&taken).unwrap(), lines(1..10));
    assert!(!new.exists());
}

#[test]
fn a_file_of_another_chain_is_refused() {
    let case = Case::binary(1..3);
    let open = |chain| FileSource::open(FileConfig { path: case.path.clone(), chain, follow: false });
    assert_eq!(open(None).unwrap().chains(), [CHAIN]);
    assert!(open(Some(ChainId(1))).unwrap_err().to_string().contains("not of 1"));
    let json = Case::json(&lines(1..3));
    let error =
        FileSource::open(FileConfig { path: json.path.clone(), chain: None, follow: false }).unwrap_err();
    assert!(error.to_string().contains("--chain"), "{error}");
}

#[test]
fn a_tip_is_the_last_block_and_changes_nothing_of_what_is_read() {
    let json = Case::json(&lines(1..10));
    let binary = Case::binary(1..10);
    for case in [&json, &binary] {
        for follow in [false, true] {
            let config = FileConfig { path: case.path.clone(), chain: Some(CHAIN), follow };
            let mut source = FileSource::open(config).unwrap();
            let tip = |source: &mut FileSource| Source::tip(source, CHAIN).unwrap();
            assert_eq!(tip(&mut source), Some(Height(9)), "before the main chain has said anything");
            source.resume(CHAIN, Height(1), None).unwrap();
            let mut out = Columns::default();
            for _ in 0..9 {
                source.looked_at = None;
                assert_eq!(tip(&mut source), Some(Height(9)));
                source.read(CHAIN, 1, &mut out).unwrap();
            }
            assert_eq!(out.len(), 9);
        }
    }
    // One that is being written, in the middle of a line.
    let config = FileConfig { path: json.path.clone(), chain: Some(CHAIN), follow: true };
    let mut source = FileSource::open(config).unwrap();
    assert_eq!(Source::tip(&mut source, CHAIN).unwrap(), Some(Height(9)));
    let more = lines(1..13);
    fs::write(&json.path, &more[..more.len() - 20]).unwrap();
    assert_eq!(Source::tip(&mut source, CHAIN).unwrap(), Some(Height(11)));
}
