//! Reads a command line as a person types it, without a shell. Pure.
//!
//! Understood: words, quotes, backslashes, `$VAR`, `${VAR}`, `${VAR:-text}`, `~`, `A=b program`, `first && second`,
//! `cd`, `export` and `exec`. Whatever else would mean something to a shell is an error that says so: it is neither
//! guessed at nor handed to a shell. A variable's value is words or a part of a word, never syntax.

/// One program to run, after the one before it ended with code 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// `A=b` before the program.
    assignments: Vec<(String, Word)>,
    /// The program and its arguments; none means that the assignments hold from here on.
    words: Vec<Word>,
}

/// A word is made of parts.
type Word = Vec<Part>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// As it is.
    Text(String),
    /// A variable's value; outside of quotes it is split at white space.
    Variable { name: String, default: Option<String>, quoted: bool },
}

/// A command whose variables have their values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Run a program.
    Run {
        /// Environment for this program alone.
        environment: Vec<(String, String)>,
        /// Program and arguments; never empty.
        words: Vec<String>,
    },
    /// Set variables for the commands after it.
    Set(Vec<(String, String)>),
    /// Change the directory for the commands after it.
    Directory(String),
}

/// Why a line is no command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Something only a shell understands.
    #[error("the command `{line}` uses `{syntax}`, which only a shell understands")]
    Shell {
        /// The line.
        line: String,
        /// What in it.
        syntax: String,
    },
    /// A quote or brace that is not closed.
    #[error("the command `{line}` has an unclosed `{what}`")]
    Unclosed {
        /// The line.
        line: String,
        /// What is open.
        what: char,
    },
    /// Nothing to run, or nothing on one side of `&&`.
    #[error("the command `{line}` is empty or has nothing beside a `&&`")]
    Empty {
        /// The line.
        line: String,
    },
}

impl CommandError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Shell { .. } => "put it into a script in the project and name the script".to_owned(),
            Self::Unclosed { what, .. } => format!("close the `{what}`"),
            Self::Empty { .. } => "write the program to run".to_owned(),
        }
    }
}

/// Reads a line.
///
/// # Errors
/// See [`CommandError`].
pub fn parse(line: &str) -> Result<Vec<Command>, CommandError> {
    let mut reader = Reader { line, rest: line.chars().peekable() };
    let mut commands = vec![Vec::new()];
    while let Some(token) = reader.token()? {
        match token {
            Token::Word(word) => commands.last_mut().expect("never empty").push(word),
            Token::And => commands.push(Vec::new()),
        }
    }
    if commands.iter().any(Vec::is_empty) {
        return Err(CommandError::Empty { line: line.to_owned() });
    }
    Ok(commands.into_iter().map(command).collect())
}

/// A command that is given as arguments already: nothing in them has a meaning.
pub fn literal(words: &[String]) -> Vec<Command> {
    let words = words.iter().map(|word| vec![Part::Text(word.clone())]).collect();
    vec![Command { assignments: Vec::new(), words }]
}

impl Command {
    /// Puts in the values of variables.
    pub fn resolve(&self, lookup: impl Fn(&str) -> Option<String>) -> Action {
        let one = |word: &Word| expand(word, &lookup).join(" ");
        let assignments: Vec<_> =
            self.assignments.iter().map(|(name, word)| (name.clone(), one(word))).collect();
        let mut words: Vec<String> = self.words.iter().flat_map(|word| expand(word, &lookup)).collect();
        match words.first().map(String::as_str) {
            None => Action::Set(assignments),
            Some("cd") => {
                Action::Directory(words.get(1).cloned().or_else(|| lookup("HOME")).unwrap_or_default())
            }
            Some("export") => {
                let pairs = words[1..].iter().filter_map(|word| word.split_once('='));
                Action::Set(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
            }
            Some("exec") if words.len() > 1 => {
                words.remove(0);
                Action::Run { environment: assignments, words }
            }
            Some(_) => Action::Run { environment: assignments, words },
        }
    }
}

/// The words one word becomes: none for an empty variable outside of quotes, several if its value has white space.
fn expand(word: &Word, lookup: &impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut words = Vec::new();
    let mut current: Option<String> = None;
    for part in word {
        match part {
            Part::Text(text) => current.get_or_insert_default().push_str(text),
            Part::Variable { name, default, quoted } => {
                let value = lookup(name).filter(|value| default.is_none() || !value.is_empty());
                let value = value.or_else(|| default.clone()).unwrap_or_default();
                if *quoted {
                    current.get_or_insert_default().push_str(&value);
                    continue;
                }
                for (at, piece) in value.split_whitespace().enumerate() {
                    let starts_apart = at > 0 || value.starts_with(char::is_whitespace);
                    if starts_apart {
                        words.extend(current.take());
                    }
                    current.get_or_insert_default().push_str(piece);
                }
                if value.ends_with(char::is_whitespace) {
                    words.extend(current.take());
                }
            }
        }
    }
    words.extend(current);
    words
}

fn command(words: Vec<Word>) -> Command {
    let count = words.iter().take_while(|word| assignment(word).is_some()).count();
    let assignments = words[..count].iter().filter_map(assignment).collect();
    Command { assignments, words: words[count..].to_vec() }
}

/// `NAME=value`, the name unquoted.
fn assignment(word: &Word) -> Option<(String, Word)> {
    let Some(Part::Text(first)) = word.first() else { return None };
    let (name, rest) = first.split_once('=')?;
    let is_name = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        return None;
    }
    let mut value = vec![Part::Text(rest.to_owned())];
    // Inside an assignment a value is one word, whatever it holds.
    value.extend(word[1..].iter().cloned().map(|part| match part {
        Part::Variable { name, default, .. } => Part::Variable { name, default, quoted: true },
        text @ Part::Text(_) => text,
    }));
    Some((name.to_owned(), value))
}

enum Token {
    Word(Word),
    And,
}

struct Reader<'a> {
    line: &'a str,
    rest: std::iter::Peekable<std::str::Chars<'a>>,
}

impl Reader<'_> {
    fn token(&mut self) -> Result<Option<Token>, CommandError> {
        while self.rest.next_if(|c| *c == ' ' || *c == '\t').is_some() {}
        match self.rest.peek() {
            None => Ok(None),
            Some('&') => {
                self.rest.next();
                self.rest.next_if_eq(&'&').map_or_else(|| self.shell("&"), |_| Ok(Some(Token::And)))
            }
            Some('#') => self.shell("#"),
            Some(_) => self.word().map(|word| Some(Token::Word(word))),
        }
    }

    fn word(&mut self) -> Result<Word, CommandError> {
        let mut word = Word::new();
        if self.rest.next_if_eq(&'~').is_some() {
            match self.rest.peek() {
                None | Some('/' | ' ' | '\t') => word.push(variable("HOME", None, true)),
                Some(_) => push(&mut word, '~'),
            }
        }
        while let Some(&next) = self.rest.peek() {
            match next {
                ' ' | '\t' | '&' => break,
                '|' | ';' | '<' | '>' | '(' | ')' | '`' | '*' | '?' | '{' | '}' => {
                    return self.shell(&next.to_string());
                }
                '\n' | '\r' | '\0' => return self.shell("a line break"),
                '\'' => self.single(&mut word)?,
                '"' => self.double(&mut word)?,
                '\\' => {
                    self.rest.next();
                    let escaped = self.rest.next().ok_or_else(|| self.unclosed('\\'))?;
                    push(&mut word, escaped);
                }
                '$' => self.dollar(&mut word, false)?,
                other => {
                    self.rest.next();
                    push(&mut word, other);
                }
            }
        }
        Ok(word)
    }

    fn single(&mut self, word: &mut Word) -> Result<(), CommandError> {
        self.rest.next();
        // An empty pair of quotes is a word, if an empty one.
        word.push(Part::Text(String::new()));
        loop {
            match self.rest.next() {
                None => return Err(self.unclosed('\'')),
                Some('\'') => return Ok(()),
                Some('\0') => return self.shell("a NUL byte"),
                Some(other) => push(word, other),
            }
        }
    }

    fn double(&mut self, word: &mut Word) -> Result<(), CommandError> {
        self.rest.next();
        word.push(Part::Text(String::new()));
        loop {
            match self.rest.peek().copied() {
                None => return Err(self.unclosed('"')),
                Some('`') => return self.shell("`"),
                Some('\0') => return self.shell("a NUL byte"),
                Some('$') => self.dollar(word, true)?,
                Some('"') => {
                    self.rest.next();
                    return Ok(());
                }
                Some('\\') => {
                    self.rest.next();
                    match self.rest.next().ok_or_else(|| self.unclosed('"'))? {
                        escaped @ ('"' | '\\' | '$' | '`') => push(word, escaped),
                        other => {
                            push(word, '\\');
                            push(word, other);
                        }
                    }
                }
                Some(other) => {
                    self.rest.next();
                    push(word, other);
                }
            }
        }
    }

    fn dollar(&mut self, word: &mut Word, quoted: bool) -> Result<(), CommandError> {
        self.rest.next();
        match self.rest.peek().copied() {
            Some('(') => self.shell("$("),
            Some(special @ ('?' | '$' | '!' | '@' | '*' | '#' | '-' | '0'..='9')) => {
                self.shell(&format!("${special}"))
            }
            Some('\'') if !quoted => self.shell("$'"),
            Some('{') => {
                self.rest.next();
                let name = self.name();
                let default = match self.rest.next() {
                    Some('}') if !name.is_empty() => None,
                    Some(':') if !name.is_empty() && self.rest.next_if_eq(&'-').is_some() => {
                        Some(self.default()?)
                    }
                    _ => return self.shell("${"),
                };
                word.push(variable(&name, default, quoted));
                Ok(())
            }
            Some(first) if first.is_ascii_alphabetic() || first == '_' => {
                let name = self.name();
                word.push(variable(&name, None, quoted));
                Ok(())
            }
            _ => {
                push(word, '$');
                Ok(())
            }
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(next) = self.rest.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
            name.push(next);
        }
        if name.starts_with(|c: char| c.is_ascii_digit()) { String::new() } else { name }
    }

    /// The text of `${NAME:-text}`: literal, up to the brace.
    fn default(&mut self) -> Result<String, CommandError> {
        let mut text = String::new();
        loop {
            match self.rest.next() {
                None => return Err(self.unclosed('{')),
                Some('}') => return Ok(text),
                Some(bad @ ('$' | '`' | '{' | '\\')) => return self.shell(&format!("${{...:-{bad}")),
                Some('"' | '\'') => {}
                Some(other) => text.push(other),
            }
        }
    }

    fn shell<T>(&self, syntax: &str) -> Result<T, CommandError> {
        Err(CommandError::Shell { line: self.line.to_owned(), syntax: syntax.to_owned() })
    }

    fn unclosed(&self, what: char) -> CommandError {
        CommandError::Unclosed { line: self.line.to_owned(), what }
    }
}

fn variable(name: &str, default: Option<String>, quoted: bool) -> Part {
    Part::Variable { name: name.to_owned(), default, quoted }
}

fn push(word: &mut Word, character: char) {
    match word.last_mut() {
        Some(Part::Text(text)) => text.push(character),
        _ => word.push(Part::Text(character.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "PORT" => Some("3000".to_owned()),
            "TWO" => Some("a b".to_owned()),
            "EVIL" => Some("; rm -rf / && $(x) `y` $PORT 'q".to_owned()),
            "EMPTY" => Some(String::new()),
            "HOME" => Some("/home/x".to_owned()),
            _ => None,
        }
    }

    fn run(line: &str) -> Vec<String> {
        match &parse(line).unwrap()[..] {
            [one] => match one.resolve(lookup) {
                Action::Run { words, .. } => words,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lines_as_people_type_them() {
        let cases: [(&str, &[&str]); 15] = [
            ("npm run start", &["npm", "run", "start"]),
            ("  node\tserver.js  ", &["node", "server.js"]),
            ("gunicorn -b 0.0.0.0:$PORT app:app", &["gunicorn", "-b", "0.0.0.0:3000", "app:app"]),
            ("x ${PORT} ${NOPE:-8000} ${EMPTY:-d}", &["x", "3000", "8000", "d"]),
            ("x $TWO \"$TWO\" a$TWO", &["x", "a", "b", "a b", "aa", "b"]),
            ("x $EMPTY \"$EMPTY\" '' $NOPE", &["x", "", ""]),
            (r#"x 'a b' "c d" e\ f "g\"h" 'i\j'"#, &["x", "a b", "c d", "e f", "g\"h", "i\\j"]),
            ("x '$PORT' \\$PORT \"\\$PORT\"", &["x", "$PORT", "$PORT", "$PORT"]),
            ("pip install uvicorn[standard]", &["pip", "install", "uvicorn[standard]"]),
            ("x ~ ~/y a~b", &["x", "/home/x", "/home/x/y", "a~b"]),
            ("exec node x", &["node", "x"]),
            ("x 5$ $", &["x", "5$", "$"]),
            ("x a=b --c=d", &["x", "a=b", "--c=d"]),
            ("x 'a && b | c'", &["x", "a && b | c"]),
            ("x a'b'\"c\"d", &["x", "abcd"]),
        ];
        for (line, words) in cases {
            assert_eq!(run(line), words, "{line}");
        }
    }

    #[test]
    fn chains_assignments_and_directories() {
        let chain = parse("A=1 B=$TWO x y && export C=2 && cd web && D=3 && z").unwrap();
        let actions: Vec<_> = chain.iter().map(|command| command.resolve(lookup)).collect();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            actions,
            [
                Action::Run {
                    environment: vec![pair("A", "1"), pair("B", "a b")],
                    words: vec!["x".to_owned(), "y".to_owned()]
                },
                Action::Set(vec![pair("C", "2")]),
                Action::Directory("web".to_owned()),
                Action::Set(vec![pair("D", "3")]),
                Action::Run { environment: vec![], words: vec!["z".to_owned()] },
            ]
        );
    }

    #[test]
    fn what_only_a_shell_understands_is_named() {
        for (line, syntax) in [
            ("a | b", "|"),
            ("a || b", "|"),
            ("a; b", ";"),
            ("a &", "&"),
            ("a `b`", "`"),
            ("a \"`b`\"", "`"),
            ("a $(b)", "$("),
            ("a \"$(b)\"", "$("),
            ("a > b", ">"),
            ("a < b", "<"),
            ("rm *", "*"),
            ("ls a?", "?"),
            ("(a)", "("),
            ("a {b,c}", "{"),
            ("a ${PORT%x}", "${"),
            ("a ${NOPE:-$(b)}", "${...:-$"),
            ("a $1", "$1"),
            ("a\nb", "a line break"),
            ("# a", "#"),
        ] {
            let error = parse(line).unwrap_err();
            let expected = CommandError::Shell { line: line.to_owned(), syntax: syntax.to_owned() };
            assert_eq!(error, expected);
            assert_eq!(error.hint(), "put it into a script in the project and name the script");
        }
        for line in ["", "  ", "a &&", "&& a", "a && && b"] {
            assert!(matches!(parse(line), Err(CommandError::Empty { .. })), "{line}");
        }
        for line in ["a 'b", "a \"b", "a \\", "a ${X:-y"] {
            assert!(matches!(parse(line), Err(CommandError::Unclosed { .. })), "{line}");
        }
    }

    proptest! {
        /// Whatever the value of a variable, the program is the one that was typed and no command is added.
        #[test]
        fn a_value_is_never_syntax(value in ".{0,60}") {
            let commands = parse("program $X \"$X\" --flag=$X ${X:-d}").unwrap();
            prop_assert_eq!(commands.len(), 1);
            let Action::Run { environment, words } = commands[0].resolve(|name| (name == "X").then(|| value.clone()))
                else { panic!("not a program") };
            prop_assert!(environment.is_empty());
            prop_assert_eq!(&words[0], "program");
            prop_assert!(words.contains(&value), "quoted, it is one word as it is");
        }

        /// A quoted text comes back as it was, so what a generator quotes cannot break out.
        #[test]
        fn quoted_text_is_one_literal_word(text in "[^\\x00]{0,60}") {
            let quoted = format!("'{}'", text.replace('\'', "'\\''"));
            prop_assert_eq!(run(&format!("program {quoted}")), vec!["program".to_owned(), text]);
        }

        #[test]
        fn no_line_panics_and_no_unquoted_shell_character_survives(line in "[a-z $|;&<>()`'\"\\\\{}*=~#-]{0,40}") {
            if let Ok(commands) = parse(&line) {
                prop_assert!(!commands.is_empty());
                for command in commands {
                    command.resolve(lookup);
                }
            }
        }

        /// Arguments that come as arguments stay what they are.
        #[test]
        fn literal_words_mean_nothing(words in prop::collection::vec(".{0,20}", 1..5)) {
            prop_assume!(!["cd", "export", "exec"].contains(&words[0].as_str()));
            let action = literal(&words)[0].resolve(lookup);
            prop_assert_eq!(action, Action::Run { environment: vec![], words });
        }
    }
}
