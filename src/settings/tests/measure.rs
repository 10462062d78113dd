use super::*;
#[test]
fn measure() {
    for shape in [
        "[app.routes.\"/x/N\"]\nbody = \"Hello, N!\"\n",
        "[app.routes.\"/x/N\"]\nbody = \"Hello, N!\"\nstatus = 200\n",
    ] {
        let text: String = (0..100_000)
            .map(|n| shape.replace('N', &n.to_string()))
            .collect();
        let folder = Folder::new(&text);
        for _ in 0..3 {
            let t = Instant::now();
            let g = folder.sources().gather(None, soon());
            let t1 = t.elapsed();
            let m = super::super::merge(g, &[]);
            let t2 = t.elapsed();
            let ty = crate::settings::de::typed::<Tables<Demo>>(&m.tree);
            let t3 = t.elapsed();
            let json = serde_json::to_value(&ty.value.as_ref().unwrap()).unwrap();
            let t4 = t.elapsed();
            let e = Effective::new(json, m.tree);
            let t5 = t.elapsed();
            e.digest(&no_files());
            let t6 = t.elapsed();
            eprintln!(
                "gather {t1:?} merge {t2:?} typed {t3:?} json {t4:?} eff {t5:?} digest {t6:?} (cumulative, {} bytes)",
                text.len()
            );
            let t = Instant::now();
            drop((e, ty.value));
            eprintln!("drop {:?}", t.elapsed());
            let t = Instant::now();
            let l = loaded(&folder.sources());
            eprintln!("load {:?}", t.elapsed());
            let none = loaded(&Sources::builtin());
            let t = Instant::now();
            let c = changes(&none.effective, &l.effective);
            eprintln!("changes {} {:?}", c.len(), t.elapsed());
        }
        folder.write("local.toml", &text);
        let t = Instant::now();
        let _l = loaded(&folder.sources());
        eprintln!("load two layers {:?}", t.elapsed());
        let bad: String = (0..100_000)
            .map(|n| shape.replace('N', &n.to_string()).replace("\"Hello", "1 #"))
            .collect();
        folder.write("local.toml", &bad);
        let t = Instant::now();
        let e = folder.errors();
        eprintln!("all bad {:?} {}", t.elapsed(), e.len());
    }
}
