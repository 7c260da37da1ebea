//! As much of XML as the answers of EC2 have: elements and text, neither attributes of interest nor comments.

/// One element.
#[derive(Clone, Debug, Default)]
pub(crate) struct Element {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) children: Vec<Self>,
}

impl Element {
    /// The element that a text is.
    pub(crate) fn read(text: &str) -> Self {
        let mut open = vec![Self::default()];
        let mut rest = text;
        while let Some(start) = rest.find('<') {
            let end = start + rest[start..].find('>').expect("a tag that ends");
            let (before, tag) = (&rest[..start], &rest[start + 1..end]);
            rest = &rest[end + 1..];
            open.last_mut().unwrap().text.push_str(before.trim());
            if tag.starts_with(['?', '!']) {
                continue;
            }
            let name = tag.trim_end_matches('/').split_whitespace().next().unwrap_or_default().to_owned();
            if name.starts_with('/') {
                let done = open.pop().unwrap();
                open.last_mut().expect("an element around it").children.push(done);
            } else if tag.ends_with('/') {
                open.last_mut().unwrap().children.push(Self { name, ..Self::default() });
            } else {
                open.push(Self { name, ..Self::default() });
            }
        }
        open.remove(0).children.into_iter().next().unwrap_or_default()
    }

    pub(crate) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|it| it.name == name)
    }

    /// The text at the end of a path of names; empty where there is none.
    pub(crate) fn at(&self, path: &[&str]) -> &str {
        match path {
            [] => &self.text,
            [first, rest @ ..] => self.child(first).map_or("", |it| it.at(rest)),
        }
    }

    /// The items of a list.
    pub(crate) fn items(&self, list: &str) -> &[Self] {
        self.child(list).map_or(&[], |it| &it.children)
    }

    /// Every element of a name, however deep.
    pub(crate) fn all<'a>(&'a self, name: &str, found: &mut Vec<&'a Self>) {
        for child in &self.children {
            if child.name == name {
                found.push(child);
            }
            child.all(name, found);
        }
    }
}
