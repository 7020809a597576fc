// What all live figures share: a shadow root that the theme does not reach, the book's colours,
// and the model, which is loaded when the figure comes near the screen, once for a page.
"use strict";

const loadedFiles = new Map();

// The model's files are scripts that leave their data in `window.bertFiles`: scripts also load
// where the book was opened from a folder and may not fetch.
function loadBertFile(name, address) {
  if (!loadedFiles.has(name)) {
    loadedFiles.set(name, new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = address;
      script.onload = () => {
        resolve(window.bertFiles[name]);
        delete window.bertFiles[name]; // the text is not needed once it is numbers
      };
      script.onerror = () => {
        loadedFiles.delete(name);
        reject(new Error(`The file ${address} could not be loaded.`));
      };
      document.head.append(script);
    }));
  }
  return loadedFiles.get(name);
}

const loadedModels = new Map();

function loadOnce(name, address, make) {
  if (!loadedModels.has(name)) {
    const model = loadBertFile(name, address).then(make);
    model.catch(() => loadedModels.delete(name));
    loadedModels.set(name, model);
  }
  return loadedModels.get(name);
}
