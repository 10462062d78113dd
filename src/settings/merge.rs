//! The merge of layers by the crate `config`: each layer is a source of one builder, which collects
//! them in order into one tree. What it means that two layers set the same key is decided here.

use super::diagnostic::Diagnostic;
use super::layer::SET;
use super::shape::Shape;
use super::text::SourceText;
use super::tree::{Hidden, Tree, is_removal, live, place, structure};
use super::value::{At, Key, Origin, Table, Value, ValueKind};
use config::{Config, ConfigError, Map, Source, Value as Node, ValueKind as NodeKind};
use serde_json::Value as Json;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// The one key of what `config` collects: the tree is in a list behind it. `config` hands on a list as
/// it is, but a table key by key, reads the outermost keys as paths, and drops the tables' origins.
const TREE: &str = "tree";

impl Tree {
    /// Merges layers: tables key by key, all else is replaced, later layers win. Of keys that exclude
    /// each other, by the schema, those of the latest layer stay.
    pub(super) fn new(
        layers: Vec<Table>,
        sources: Vec<Arc<SourceText>>,
        schema: &Arc<LazyLock<Json>>,
    ) -> Tree {
        let all = Arc::new(Merging::new(layers, sources, schema.clone()));
        let root = match collected(&all) {
            Some(root) => all.taken(&root, &mut Vec::new()).1,
            None => Value::unset(Table::default()),
        };
        let all = Arc::into_inner(all).expect("the builder has dropped its sources");
        let told = all.told.into_inner();
        let Told { hidden, warnings } = told.unwrap_or_else(PoisonError::into_inner);
        Tree {
            root,
            sources: all.sources,
            hidden,
            warnings,
        }
    }
}

/// The tree of all layers as `config` builds it; `None` where there is no layer.
fn collected(all: &Arc<Merging>) -> Option<Node> {
    let layers = 0..all.layers.len();
    let builder = layers.fold(Config::builder(), |builder, index| {
        builder.add_source(Layer {
            all: all.clone(),
            index,
        })
    });
    root(builder.build().expect("no layer refuses to be collected"))
}

/// What layers have been collected to.
fn root(built: Config) -> Option<Node> {
    let mut built = built.cache.into_table().ok()?;
    built.remove(TREE)?.into_array().ok()?.pop()
}

/// What the sources of one merge share.
struct Merging {
    /// The whole of each layer, as if it stood at a key of its own.
    layers: Vec<(Key, Value)>,
    sources: Vec<Arc<SourceText>>,
    /// Made only where layers meet in a table.
    schema: Arc<LazyLock<Json>>,
    told: Mutex<Told>,
}

/// What a merge tells beside the tree.
#[derive(Default)]
struct Told {
    hidden: Vec<Hidden>,
    warnings: Vec<Diagnostic>,
}

/// A layer as a source of `config`.
///
/// The tree that is collected has only the tables in which layers meet. The origin of each value in it
/// is the number of a layer: of a table the first that has it, of all else the one that sets it, at the
/// same path and with all that is within. So what one layer has alone costs one value, however large.
#[derive(Clone)]
struct Layer {
    all: Arc<Merging>,
    index: usize,
}

/// By its number: it may hold secrets.
impl fmt::Debug for Layer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Layer").field(&self.index).finish()
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Node>, ConfigError> {
        let mut collected = Node::from(Map::<String, Node>::new());
        self.collect_to(&mut collected)?;
        collected.into_table()
    }

    /// Not as `config` does it by itself. That reads keys as paths, so that `"a[4000000000]" = 1` makes
    /// a list of as many elements; it copies each value once for every table above it, and loses where
    /// tables stand. It knows no removals, no keys that exclude each other, and does not tell what
    /// hides what.
    fn collect_to(&self, collected: &mut Node) -> Result<(), ConfigError> {
        let NodeKind::Table(collected) = &mut collected.kind else {
            return Err(ConfigError::Message("a table is collected to".to_owned()));
        };
        let tree = collected.entry(TREE.to_owned());
        let tree = tree.or_insert_with(|| Node::from(Vec::<Node>::new()));
        let NodeKind::Array(tree) = &mut tree.kind else {
            return Err(ConfigError::Message(format!("`{TREE}` is a list")));
        };
        let told = self.all.told.lock();
        let mut merge = Merge {
            all: &self.all,
            origin: self.index.to_string(),
            path: Vec::new(),
            told: &mut told.unwrap_or_else(PoisonError::into_inner),
        };
        match tree.first_mut() {
            Some(root) => merge.value(root, &self.all.layers[self.index].1),
            None => tree.push(merge.node()),
        }
        Ok(())
    }
}

impl Merging {
    fn new(
        layers: Vec<Table>,
        sources: Vec<Arc<SourceText>>,
        schema: Arc<LazyLock<Json>>,
    ) -> Merging {
        let whole = Key::from("");
        let layers = layers.into_iter();
        let layers = layers.map(|layer| (whole.clone(), Value::unset(layer)));
        Merging {
            layers: layers.collect(),
            sources,
            schema,
            told: Mutex::default(),
        }
    }

    /// The key and the value that a layer has at a path; the layer is that of a value in the tree.
    fn entry(&self, node: &Node, path: &[&str]) -> &(Key, Value) {
        let layer = node.origin().and_then(|it| it.parse::<usize>().ok());
        let whole = &self.layers[layer.expect("a layer has put its number")];
        let entry = path.iter().try_fold(whole, |(_, value), key| {
            match &structure(&self.sources, value).kind {
                ValueKind::Table(table) => table.entry(key),
                _ => None,
            }
        });
        entry.expect("a layer has what it is collected with")
    }

    /// The key and the value of the tree that has been collected: what one layer has alone is shared
    /// with it.
    fn taken<'n>(&self, node: &'n Node, path: &mut Vec<&'n str>) -> (Key, Value) {
        let (key, value) = self.entry(node, path);
        let NodeKind::Table(entries) = &node.kind else {
            return (key.clone(), value.clone());
        };
        let entries = entries.iter().map(|(key, node)| {
            path.push(key);
            let entry = self.taken(node, path);
            path.pop();
            entry
        });
        let value = Value {
            kind: Table::new(entries.collect(), |_, _, _| {}).into(),
            origin: structure(&self.sources, value).origin,
        };
        (key.clone(), value)
    }

    /// The index of the override that a value comes from.
    fn override_of(&self, value: &Value) -> Option<usize> {
        let source = value.origin?.source();
        self.sources.get(source)?.is_bare().then_some(source)
    }

    /// Whether both are variables: neither is the later one.
    fn is_of_one_layer(&self, one: &Value, other: &Value) -> bool {
        let is_variable = |value| {
            let source = self.override_of(value).and_then(|it| self.sources.get(it));
            source.is_some_and(|source| source.name != SET)
        };
        is_variable(one) && is_variable(other)
    }
}

/// The merge of one layer into the tree.
struct Merge<'m> {
    all: &'m Merging,
    /// The layer's number, as the tree has it.
    origin: String,
    path: Vec<&'m str>,
    told: &'m mut Told,
}

impl<'m> Merge<'m> {
    /// What this layer has at the path, as the tree has it.
    fn node(&self) -> Node {
        Node::new(Some(&self.origin), NodeKind::Nil)
    }

    fn value(&mut self, into: &mut Node, from: &'m Value) {
        let all = self.all;
        let (mut old, mut new) = (&all.entry(into, &self.path).1, from);
        if is_met(into) {
            old = structure(&all.sources, old);
        }
        // A bare text is what it meets: a table where there is one, or one comes.
        if matches!(old.kind, ValueKind::Table(_)) {
            new = structure(&all.sources, new);
        } else if matches!(new.kind, ValueKind::Table(_)) {
            old = structure(&all.sources, old);
        }
        if is_removal(old) || is_removal(new) {
            return self.remove(into, old, new);
        }
        match (&old.kind, &new.kind) {
            // An empty table makes room for the other, which is then shared with its layer.
            (ValueKind::Table(known), ValueKind::Table(table)) if !known.is_empty() => {
                self.table(opened(into, known), table);
            }
            _ => self.replace(into, old, new),
        }
    }

    fn table(&mut self, known: &mut Map<String, Node>, new: &'m Table) {
        self.drop_excluded(known, new);
        for (key, value) in new.iter() {
            match known.get_mut(&**key) {
                Some(old) => {
                    self.path.push(key);
                    self.value(old, value);
                    self.path.pop();
                }
                None => {
                    known.insert(key.to_string(), self.node());
                }
            }
        }
    }

    /// Where either of the two removes.
    fn remove(&mut self, into: &mut Node, old: &Value, new: &Value) {
        let is_table = matches!(&old.kind, ValueKind::Table(table) if !table.is_empty());
        let is_blank =
            matches!(new.kind, ValueKind::Nil) && new.origin.is_some_and(Origin::is_blank);
        // `server:` in YAML, with all within it commented out, sets nothing.
        if is_table && is_blank && !is_removal(old) {
            let message = "nothing stands behind this key, so it sets nothing (`null` removes what \
                           earlier layers set)";
            let place = place(&self.all.sources, new, At::Value);
            let warning = Diagnostic::settings(place, &self.path, message);
            self.told.warnings.push(warning);
            return;
        }
        self.replace(into, old, new);
    }

    /// Drops the keys of a table that those of a later layer exclude.
    fn drop_excluded(&mut self, known: &mut Map<String, Node>, new: &'m Table) {
        let is_known = live(new).all(|(key, _)| known.contains_key(key));
        let Some((_, by)) = live(new).next().filter(|_| !is_known) else {
            return;
        };
        let all = self.all;
        let mut keys = self.path.iter();
        let shape = keys.try_fold(Shape::new(&all.schema), |shape, key| shape.within(key));
        let is_set = |key: &str| new.get(key).is_some_and(|value| !is_removal(value));
        let excluded = shape.map(|shape| shape.excluded_by(is_set));
        for key in excluded.into_iter().flatten() {
            let Some(node) = known.get(key) else {
                continue;
            };
            self.path.push(key);
            let old = &all.entry(node, &self.path).1;
            let is_dropped = !all.is_of_one_layer(old, by);
            if is_dropped {
                self.hide(node, old, by);
            }
            self.path.pop();
            if is_dropped {
                known.remove(key);
            }
        }
    }

    fn replace(&mut self, into: &mut Node, old: &Value, new: &Value) {
        if !matches!(&old.kind, ValueKind::Table(table) if table.is_empty()) {
            self.hide(into, old, new);
        }
        *into = self.node();
        let set = &self.all.entry(into, &self.path).1;
        // A bare text has become the table that it stands for.
        if let (ValueKind::String(_), ValueKind::Table(table)) = (&set.kind, &new.kind) {
            opened(into, table);
        }
    }

    /// Keeps what a file says where an override hides it.
    fn hide(&mut self, node: &Node, old: &Value, by: &Value) {
        let is_a_files = old.origin.is_some() && self.all.override_of(old).is_none();
        if let Some(by) = self.all.override_of(by).filter(|_| is_a_files) {
            let path = self.path.iter().map(|key| (*key).to_owned());
            self.told.hidden.push(Hidden {
                path: path.collect(),
                value: self.all.taken(node, &mut self.path.clone()).1,
                by,
            });
        }
    }
}

/// Whether a value in the tree is a table in which layers meet.
fn is_met(node: &Node) -> bool {
    matches!(node.kind, NodeKind::Table(_))
}

/// The entries of a table in the tree, in which layers meet from now on.
fn opened<'n>(node: &'n mut Node, table: &Table) -> &'n mut Map<String, Node> {
    if !is_met(node) {
        let layer = node.origin().map(str::to_owned);
        let entries = table.iter().map(|(key, _)| {
            let entry = Node::new(layer.as_ref(), NodeKind::Nil);
            (key.to_string(), entry)
        });
        node.kind = NodeKind::Table(entries.collect());
    }
    match &mut node.kind {
        NodeKind::Table(entries) => entries,
        _ => unreachable!("it is a table now"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::layer::{self, Format};
    use crate::settings::schema;
    use crate::site::Site;

    const FILE: &str = "[app.routes.\"/a\"]\nrespond.body = \"a\"\n[app.routes.\"/b\"]\n\
                        redirect = \"/c\"\n[server]\nworkers = 3\n[logging]\nlevel = \"info\"\n";
    const LATER: &str = "[server]\nworkers = { unset = true }\n";

    const SET_LAST: &str = "app.routes.\"/a\".redirect = \"/set\"";

    /// Two files, and what `--set` gives a route.
    fn merging() -> Arc<Merging> {
        let texts = [FILE, LATER, SET_LAST].into_iter().enumerate();
        let layers = texts.map(|(index, text)| {
            let source = SourceText::file(format!("{index}.toml"), text.to_owned());
            (layer::parse(index, &source, Format::Toml).layer, source)
        });
        let (layers, mut sources): (Vec<_>, Vec<_>) = layers.unzip();
        sources[2] = SourceText::bare(SET, None);
        let sources = sources.into_iter().map(Arc::new).collect();
        Arc::new(Merging::new(
            layers,
            sources,
            Arc::new(LazyLock::new(schema::<Site>)),
        ))
    }

    fn within<'n>(node: &'n Node, path: &[&str]) -> Option<&'n Node> {
        path.iter().try_fold(node, |node, key| match &node.kind {
            NodeKind::Table(entries) => entries.get(*key),
            _ => None,
        })
    }

    /// What `config` builds of some of the layers, in this order.
    fn built(all: &Arc<Merging>, order: &[usize]) -> Node {
        let mut builder = Config::builder();
        for index in order {
            builder = builder.add_source(Layer {
                all: all.clone(),
                index: *index,
            });
        }
        root(builder.build().expect("layers are collected")).expect("there are layers")
    }

    #[test]
    fn a_builder_merges_layers_with_removals_exclusions_and_what_is_hidden() {
        let all = merging();
        let merged = built(&all, &[0, 1, 2]);
        let layer = |path: &[&str]| within(&merged, path).and_then(Node::origin);
        assert_eq!(layer(&["server", "workers"]), Some("1"));
        assert_eq!(layer(&["app", "routes", "/b"]), Some("0"));
        assert_eq!(layer(&["app", "routes", "/a", "redirect"]), Some("2"));
        assert_eq!(layer(&["app", "routes", "/a", "respond"]), None);
        // In these no layers meet: they are taken as they are.
        for path in [&["logging"][..], &["app", "routes", "/b"]] {
            let node = within(&merged, path).expect("it is there");
            assert_eq!(node.kind, NodeKind::Nil, "{path:?}");
        }
        let (_, root) = all.taken(&merged, &mut Vec::new());
        let ValueKind::Table(root) = root.kind else {
            panic!("the root is a table");
        };
        let ValueKind::Table(server) = &root.get("server").expect("it is there").kind else {
            panic!("the server's settings are a table");
        };
        assert!(server.get("workers").is_some_and(is_removal));
        let told = all.told.lock().expect("no merge has panicked");
        let hidden: Vec<_> = told
            .hidden
            .iter()
            .map(|it| (it.path.join(" "), it.by))
            .collect();
        assert_eq!(hidden, [("app routes /a respond".to_owned(), 2)]);
    }

    #[test]
    fn the_layer_that_a_builder_has_last_wins() {
        let all = merging();
        for (order, last) in [([0, 1], "1"), ([1, 0], "0")] {
            let merged = built(&all, &order);
            let workers = within(&merged, &["server", "workers"]);
            assert_eq!(workers.and_then(Node::origin), Some(last));
        }
    }

    #[test]
    fn a_bare_text_over_a_table_that_is_removed_is_the_table_that_it_stands_for() {
        let file = SourceText::file("0.toml".to_owned(), "app.unset = true".to_owned());
        let origin = Origin::bare(1);
        let inline = origin.tag(Table::one("message", origin.tag("hello")));
        let layers = vec![
            layer::parse(0, &file, Format::Toml).layer,
            Table::one("app", origin.tag("{ message = \"hello\" }")),
        ];
        let sources = [file, SourceText::bare(SET, Some(inline.clone()))];
        let schema: Arc<LazyLock<Json>> = Arc::new(LazyLock::new(schema::<Site>));
        let tree = Tree::new(layers, sources.map(Arc::new).into(), &schema);
        let ValueKind::Table(root) = &tree.root.kind else {
            panic!("the root is a table");
        };
        assert_eq!(root.get("app"), Some(&inline));
    }
}
