// An emulator of Firestore: `node firestore.js FOLDER PORT`, where the package @firestore-emulator/server is in the folder.
//
// Each line of JSON on standard input becomes a document of the collection `candles` of the project `test`, called by its symbol and
// time; how many there were is answered.
const { createRequire } = require("node:module");
const { createInterface } = require("node:readline");

const [folder, port] = process.argv.slice(2);
const load = createRequire(`${folder}/package.json`);
const { FirestoreServer } = load("@firestore-emulator/server");
const { Write } = load("@firestore-emulator/proto/dist/google/firestore/v1/write");

const value = (of) =>
  typeof of === "string" ? { string_value: of } : Number.isInteger(of) ? { integer_value: of } : { double_value: of };

const server = new FirestoreServer();
server.start(port).then(() => {
  let count = 0;
  console.log(count);
  createInterface({ input: process.stdin }).on("line", (line) => {
    const candle = JSON.parse(line);
    const fields = Object.fromEntries(Object.entries(candle).map(([name, of]) => [name, value(of)]));
    const id = `${candle.symbol}_${candle.ts}`;
    const name = `projects/test/databases/(default)/documents/candles/${id}`;
    server.state.writeV1Document(new Date(), Write.fromObject({ update: { name, fields } }));
    console.log(++count);
  });
});
